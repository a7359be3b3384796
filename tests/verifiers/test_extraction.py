"""Where the answer stands: turns, reasoning, the lenient rules, and what a verdict says was extracted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers import (
    ChoiceVerifier,
    GatedVerifier,
    MathVerifier,
    NumericVerifier,
    ThinkAnswerVerifier,
    WeightedVerifier,
)
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import (
    AnswerLine,
    Boxed,
    Extracted,
    ExtractionRule,
    FlexibleBoxed,
    HashLine,
    LastLine,
    LastNumber,
    Missing,
    SoleAnswerLine,
    WholeText,
)

Make = Callable[..., Problem]
BAR, SPACE = "\uff5c", "\u2581"
DEEPSEEK_END = f"<{BAR}end{SPACE}of{SPACE}sentence{BAR}>"
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"<think>so \boxed{42}", Missing.IN_REASONING),
        (r"<think>so \boxed{42}</think>", Missing.IN_REASONING),
        (r"so \boxed{42}</think>", Missing.IN_REASONING),
        (r"<think>a</think>\boxed{7}<think>\boxed{42}", Missing.IN_REASONING),
        (r"\boxed{42}<think>wait", Missing.IN_REASONING),
        ("<think>so 42", Missing.NO_ANSWER),
        (r"<think>\boxed{7}</think>\boxed{42}", "42"),
        (r"<think>a</think>b<think>\boxed{7}</think>\boxed{42}", "42"),
        (r"[THINK]\boxed{7}[/THINK]\boxed{42}", "42"),
        (r"[THINK]\boxed{42}", Missing.IN_REASONING),
        (rf"{ANALYSIS}\boxed{{7}}<|end|>{FINAL}\boxed{{42}}<|return|>\boxed{{8}}", "42"),
        (rf"{ANALYSIS}\boxed{{42}}<|end|>", Missing.IN_REASONING),
    ],
)
def test_what_is_reasoning_is_not_read(text: str, expected: str) -> None:
    found = Boxed().extract(text)
    assert (found.answer or found.missing) == expected


@pytest.mark.parametrize(
    "end", ["<|im_end|>", "<|eot_id|>", "<|return|>", "<|call|>", "<|end|>", "</s>", "<end_of_turn>", DEEPSEEK_END]
)
def test_nothing_after_the_first_end_of_turn_is_read(end: str) -> None:
    assert Boxed().extract(rf"\boxed{{42}}{end}\boxed{{7}}").answer == "42"
    assert Boxed().extract(rf"\boxed{{42}}{end}</think>\boxed{{7}}").answer == "42"
    assert Boxed().extract(rf"\boxed{{42}}{end}<|start|>user\boxed{{7}}").answer == "42"
    assert Boxed().extract(rf"<think>a{end}</think>\boxed{{7}}").missing == Missing.NO_ANSWER
    assert AnswerLine().extract(f"{end}\nAnswer: 7").missing == Missing.NO_ANSWER


def test_the_tokenizer_in_use_says_what_ends_a_turn(problem: Make) -> None:
    inner = MathVerifier()
    verifier = GatedVerifier({"form": ThinkAnswerVerifier(), "answer": inner})
    verifier.bind(["<my_eos>"])
    text = r"<think>a</think><answer>\boxed{42}</answer><my_eos></think>\boxed{7}"
    assert verifier.verify([text], [problem("42")])[0].status is Status.PASS
    assert inner.rule.extract(r"<think>a</think>\boxed{1}</s>\boxed{42}").answer == "42"
    verifier.bind([])
    assert inner.rule.extract(r"\boxed{1}<my_eos>\boxed{42}").answer == "42"


@pytest.mark.parametrize("blank", ["\u200b", "\u2060\ufeff", "\u00a0", "\u3164", "\u2800", "\u00ad", "\u0301", "\x00"])
def test_what_has_no_ink_is_empty(problem: Make, blank: str) -> None:
    texts = [f"<think>{blank}</think><answer>1</answer>", f"<think>a</think><answer>{blank}</answer>"]
    verdicts = ThinkAnswerVerifier().verify(texts, [problem()] * 2)
    assert [(verdict.status, verdict.detail) for verdict in verdicts] == [("fail", "tag_empty")] * 2
    assert Boxed().extract(rf"\boxed{{{blank}}}").missing is Missing.EMPTY


def test_the_whole_text_loses_only_plain_blanks() -> None:
    assert WholeText().extract(" \t\r\n{}\n").answer == "{}"
    assert WholeText().extract("\u00a0{}\f").answer == "\u00a0{}\f"


@pytest.mark.parametrize(
    ("rule", "text", "answer"),
    [
        (LastNumber(), "It took 3 days and cost $1,234.50 in all.", "1,234.50"),
        (LastNumber(), "from -3 to -4.", "-4"),
        (LastNumber(), "The answer is 1/2.", "1/2"),
        (LastNumber(), "so 2.5e-3", "2.5e-3"),
        (LastNumber(), "5-3", "3"),
        (LastNumber(), "no number", None),
        (LastNumber(), "<think>5</think>none", None),
        (LastLine(), "a\nb\n\n  c d \n", "c d"),
        (LastLine(), "\n \n", None),
        (FlexibleBoxed(), r"\boxed{42} or 7", "42"),
        (FlexibleBoxed(), "The answer is 42.", "42"),
        (FlexibleBoxed(), r"so 7, \boxed{42", None),
        (FlexibleBoxed(), "none", None),
    ],
)
def test_the_lenient_rules(rule: ExtractionRule, text: str, answer: str | None) -> None:
    assert rule.extract(text).answer == answer


@pytest.mark.parametrize(
    "rule", [LastNumber(), LastLine(), SoleAnswerLine(), FlexibleBoxed(), Boxed(), HashLine(), AnswerLine()]
)
@pytest.mark.parametrize(
    "text", ["1 " * 100_000, "1," * 100_000, "-" * 200_000, "\n" * 200_000, "1e" * 100_000, "</think>" * 20_000,
             "<|end|><|start|>assistant" * 10_000, "<think>" * 20_000, "<|im_end|>" * 20_000],
)  # fmt: skip
def test_extraction_takes_linear_time(rule: ExtractionRule, text: str) -> None:
    begin = time.process_time()
    assert isinstance(rule.extract(text), Extracted)
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("verifier", "reference", "text", "status", "answer"),
    [
        (MathVerifier(), "42", r"\boxed{ 42 }", "pass", "42"),
        (MathVerifier(), "42", r"\boxed{41}", "fail", "41"),
        (MathVerifier(), "42", r"\boxed{10^{99999}}", "limit", "10^{99999}"),
        (MathVerifier(), "42", r"\boxed{import os}", "invalid", "import os"),
        (MathVerifier(), "42", "42", "invalid", None),
        (MathVerifier(), "42", r"<think>\boxed{42}</think>", "fail", None),
        (NumericVerifier(), "5", r"\boxed{5.0001}", "pass", "5.0001"),
        (NumericVerifier(), "5", r"\boxed{five}", "invalid", "five"),
        (ChoiceVerifier(), "A", r"\boxed{(A)}", "pass", "A"),
        (ChoiceVerifier(), "A", r"\boxed{B.}", "fail", "B"),
        (ChoiceVerifier(), "A", r"\boxed{none}", "fail", "none"),
        (ThinkAnswerVerifier(), None, "<think>a</think><answer> 1 </answer>", "pass", "1"),
        (ThinkAnswerVerifier(), None, "<think>a</think>b<answer>1</answer>", "fail", "1"),
        (ThinkAnswerVerifier(), None, "1", "fail", None),
    ],
)
def test_the_verdict_holds_the_answer(
    problem: Make, verifier: Verifier, reference: str | None, text: str, status: str, answer: str | None
) -> None:
    (verdict,) = verifier.verify([text], [problem(reference)])
    assert (verdict.status, verdict.answer) == (status, answer)


class Says(Verifier):
    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self.verdict] * len(texts)


def test_a_composite_holds_the_decisive_part_s_answer_else_the_first(problem: Make) -> None:
    silent, one, two = (Says(Verdict(1.0, Status.PASS, answer=answer)) for answer in (None, "1", "2"))
    cases = [({"a": one, "b": two}, "2"), ({"a": one, "b": silent}, "1"), ({"a": silent, "b": silent}, None)]
    for parts, answer in cases:
        assert GatedVerifier(parts).verify(["x"], [problem()])[0].answer == answer
        weighted = WeightedVerifier(parts, {"a": 1.0, "b": 2.0})
        assert weighted.verify(["x"], [problem()])[0].answer == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 * 7 = 42\n\n 42 \n", "42"),
        ("42", "42"),
        ("So it is 42.", "So it is 42."),
        ("40\n41\n42", Missing.SEVERAL),
        ("Maybe\n-41\nor\n42", Missing.SEVERAL),
        (" \n", Missing.NO_ANSWER),
    ],
)
def test_the_sole_answer_line(text: str, answer: str) -> None:
    found = SoleAnswerLine().extract(text)
    assert (found.answer or found.missing) == answer


LENIENT = [
    # rule, completion, passes under the rule, passes under the strict rule
    (LastNumber, "6 * 7\n42", 1.0, 1.0),
    (LastNumber, "6 * 7\n$42", 1.0, 1.0),  # another text, judged again
    (LastNumber, "so 41, as 42 is too much", 1.0, 0.0),
    (LastNumber, "40\n41\n42", 1.0, 0.0),
    (LastNumber, "6 * 7\n41", 0.0, 0.0),
    (LastNumber, "none", 0.0, 0.0),
    (LastLine, "6 * 7\n42", 1.0, 1.0),
    (LastLine, "40\n41\n42", 1.0, 0.0),
    (LastLine, "41 or 42", 0.0, 0.0),
    (FlexibleBoxed, r"\boxed{42}", 1.0, 1.0),
    (FlexibleBoxed, "It is 42", 1.0, 0.0),
    (FlexibleBoxed, r"\boxed{41} or 42", 0.0, 0.0),
]


@pytest.mark.parametrize("make", [MathVerifier, NumericVerifier])
def test_a_lenient_rule_reports_the_accuracy_under_its_strict_one(problem: Make, make: Callable[..., Verifier]) -> None:
    for kind in (LastNumber, LastLine, FlexibleBoxed):
        cases = [(text, passes, strict) for rule, text, passes, strict in LENIENT if rule is kind]
        verdicts = make(rule=kind()).verify([text for text, _, _ in cases], [problem("42")] * len(cases))
        found = [(verdict.reward, verdict.metrics["strict_accuracy"]) for verdict in verdicts]
        assert found == [(passes, strict) for _, passes, strict in cases]


def test_the_strict_rule_ends_at_the_same_turn(problem: Make) -> None:
    verifier = NumericVerifier(rule=LastNumber())
    verifier.bind(["<my_eos>"])
    assert verifier.verify(["42<my_eos>\n7"], [problem("42")])[0].metrics == {"strict_accuracy": 1.0}


def test_a_rule_with_a_mark_reports_nothing_beside(problem: Make) -> None:
    assert MathVerifier().verify([r"\boxed{42}"], [problem("42")])[0].metrics == {}


def test_a_choice_under_a_lenient_rule(problem: Make) -> None:
    verdict, other = ChoiceVerifier(rule=LastLine()).verify(["1\n2\nB", "x\nB"], [problem("B")] * 2)
    assert (verdict.reward, verdict.metrics) == (1.0, {"strict_accuracy": 0.0})
    assert (other.reward, other.metrics) == (1.0, {"strict_accuracy": 1.0})


def test_a_verifier_s_own_failure_has_no_strict_accuracy(problem: Make) -> None:
    verdict = NumericVerifier(rule=LastNumber()).verify(["42"], [problem("no number")])[0]
    assert (verdict.status, verdict.metrics) == (Status.ERROR, {})
