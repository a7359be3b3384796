"""The math verifier on the verdicts that public graders get wrong, on its policy table, and on hostile answers."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import HOSTILE_ANSWERS, HOSTILE_TEXTS

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.extraction import AnswerLine, HashLine
from rlsd_pl.verifiers.math.leaves import Policy, Units
from rlsd_pl.verifiers.math.verifier import MathVerifier

Make = Callable[..., Problem]


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    verifier = MathVerifier()
    yield verifier
    verifier.close()


def one(verifier: MathVerifier, problem: Make, reference: str, text: str) -> Verdict:
    (verdict,) = verifier.verify([text], [problem(reference)])
    assert verdict.reward == float(verdict.status is Status.PASS)
    return verdict


# (reference, completion, expected): rows that math-verify 0.9.0 judges wrongly
WRONGLY_JUDGED_ELSEWHERE = [
    ("42", r"\boxed{7} no wait \boxed{42}", "pass"),
    ("42", r"$\boxed{36}$, $\boxed{37}$, $\boxed{38}$, $\boxed{39}$, $\boxed{40}$, $\boxed{41}$, $\boxed{43}$", "fail"),
    ("42", r"\fbox{42}", "pass"),
    ("42", r"<think> \boxed{42} </think> I give up", "fail"),
    (r"\sqrt{2}", r"\boxed{√2}", "pass"),
    (r"\frac{1}{2}", r"\boxed{½}", "pass"),
    ("x^2", r"\boxed{x²}", "pass"),
    (r"5\text{ cm}", r"\boxed{5\text{ m}}", "fail"),
    (r"\frac{3}{2}", r"\boxed{1 1/2}", "pass"),
    ("(1,2,3)", r"\boxed{\{1,2,3\}}", "fail"),
    ("5", r"\boxed{1=5}", "fail"),
    ("42", r"\boxed{41=42}", "fail"),
    ("x=x+1", r"\boxed{x=x+2}", "fail"),
    ("12000", r"\boxed{1.2e4}", "pass"),
    ("1.0", r"\boxed{1.0000001}", "fail"),
    ("0.00000001", r"\boxed{0.00000002}", "fail"),
    (r"\sqrt{10^{40}+1}", r"\boxed{10^{20}}", "fail"),
    ("10^{-20}", r"\boxed{2\cdot 10^{-20}}", "fail"),
    ("1010_2", r"\boxed{1010_3}", "fail"),
    (r"\frac{1}{3}", r"\boxed{0.\overline{3}}", "pass"),
    (r"6.63 \times 10^{-34}", r"\boxed{9.11 \times 10^{-31}}", "fail"),
    (r"1.6 \times 10^{-19}", r"\boxed{9 \times 10^{-31}}", "fail"),
    ("0.0000004", r"\boxed{0.0}", "fail"),
    (r"\frac{1}{10^{20}}", r"\boxed{\frac{1}{10^{21}}}", "fail"),
    ("42", r"\boxed{40 2}", "fail"),
    ("1", r"\boxed{1 1/2}", "fail"),
    ("3:30", r"\boxed{0.1}", "fail"),
    ("x^2=-1", r"\boxed{x=x+7}", "fail"),
    ("42", r"\boxed{7 \boxed{42}}", "invalid"),
    ("42", r"\boxed{\color{red}{42}}", "pass"),
    ("42", "Final Answer: The final answer is $42$. I hope it is correct.", "invalid"),
    ("42", r"The final answer is 42 I hope. Later: so \boxed{7}.", "fail"),
]

POLICY = [
    tuple(line.split("\t"))
    for line in (Path(__file__).parent / "math_policy.tsv").read_text().splitlines()
    if line and not line.startswith("#")
]

NOT_MATHEMATICS = [
    "__import__('os').system('true')",
    "\u0664\u0662",
    "4\u200b2",
    "\u202e24",
    "42\x00",
    "().__class__",
    "exec(chr(52)+chr(50))",
    "os.getpid()",
    "lambda: 42",
]


@pytest.mark.parametrize(("reference", "text", "expected"), WRONGLY_JUDGED_ELSEWHERE)
def test_known_wrong_verdicts_are_right_here(
    verifier: MathVerifier, problem: Make, reference: str, text: str, expected: str
) -> None:
    assert one(verifier, problem, reference, text).status == expected


@pytest.mark.parametrize(("reference", "answer", "expected"), POLICY)
def test_the_policy_table(verifier: MathVerifier, problem: Make, reference: str, answer: str, expected: str) -> None:
    verdict = one(verifier, problem, reference, rf"so \boxed{{{answer}}}.")
    assert verdict.status == expected, verdict.detail


@pytest.mark.parametrize("answer", NOT_MATHEMATICS)
def test_program_text_and_foreign_digits_are_no_answer(verifier: MathVerifier, problem: Make, answer: str) -> None:
    assert one(verifier, problem, "42", rf"\boxed{{{answer}}}").status == "invalid"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (r"... \boxed{42", "invalid", "answer_unclosed"),
        (r"\boxed{" * 5000, "invalid", "answer_unclosed"),
        (r"\boxed{}", "invalid", "answer_empty"),
        ("42", "invalid", "no_answer"),
        (r"\boxed{42} no wait \boxed{7}", "fail", "unequal"),
        (r"\boxed{41}, \boxed{42}, \boxed{43}", "fail", "unequal"),
        (r"\boxed{5} and \boxed{42", "fail", "unequal"),
        (r"answer passed as: 5} and \boxed{42", "fail", "answer_malformed"),
        (r"\boxed{42}<|im_end|>\boxed{7}", "pass", "same_text"),
        (r"<think>\boxed{7}</think>\boxed{42}", "pass", "same_text"),
        (r"\boxed{\{42\}}", "fail", "unequal"),
    ],
)
def test_the_last_balanced_box_after_the_reasoning_is_the_answer(
    verifier: MathVerifier, problem: Make, text: str, status: str, code: str
) -> None:
    verdict = one(verifier, problem, "42", text)
    assert (verdict.status, verdict.detail) == (status, code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("#### $42", "pass"), ("####42", "pass"), ("#### 42.", "pass"), ("#### 42.0", "pass"), ("#### 41 #### 42", "fail"),
     ("#### 42\nmore\n#### 7", "fail"), ("42", "invalid"), ("####", "invalid"), ("see #### 42", "invalid")],
)  # fmt: skip
def test_the_hash_line(problem: Make, text: str, expected: str) -> None:
    assert one(MathVerifier(HashLine()), problem, "42", text).status == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("so\nAnswer: 42", "pass"), (r"Answer: 5} and \boxed{42", "fail"), ("Answer: 41\nAnswer: 42", "pass"),
     ("The Answer: 42", "invalid"), ("**Answer: 42**", "pass")],
)  # fmt: skip
def test_the_answer_line(problem: Make, text: str, expected: str) -> None:
    assert one(MathVerifier(AnswerLine()), problem, "42", text).status == expected


def test_a_tolerance_is_relative_and_the_task_s_choice(problem: Make) -> None:
    verifier = MathVerifier(policy=Policy(relative_tolerance=1e-3))
    texts = [r"\boxed{3.1416}", r"\boxed{3.15}", r"\boxed{\frac{22}{7}}"]
    verdicts = verifier.verify(texts, [problem(r"\pi")] * 3)
    assert [verdict.status for verdict in verdicts] == ["pass", "fail", "pass"]
    tiny = verifier.verify([r"\boxed{9.11 \times 10^{-31}}"], [problem(r"6.63 \times 10^{-34}")])
    assert tiny[0].status == "fail"
    verifier.close()


def test_units_can_be_ignored_by_policy(problem: Make) -> None:
    verifier = MathVerifier(policy=Policy(units=Units.IGNORED))
    assert one(verifier, problem, r"5\text{ cm}", r"\boxed{5\text{ m}}").status == "pass"


def test_the_verdict_does_not_depend_on_the_thread(verifier: MathVerifier, problem: Make) -> None:
    verdicts: list[Verdict] = []
    thread = threading.Thread(
        target=lambda: verdicts.append(one(verifier, problem, r"3\sqrt{5}", r"\boxed{\sqrt{45}}"))
    )
    thread.start()
    thread.join()
    assert verdicts[0].status == "pass"


def test_a_killed_worker_costs_no_verdict(verifier: MathVerifier, problem: Make) -> None:
    one(verifier, problem, r"2\sqrt{5}", r"\boxed{\sqrt{20}}")
    for pid in verifier._pool.pids():
        os.kill(pid, signal.SIGKILL)
    assert one(verifier, problem, r"2\sqrt{7}", r"\boxed{\sqrt{28}}").status == "pass"


def test_model_text_is_never_evaluated(verifier: MathVerifier, problem: Make, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    payloads = [f"__import__('os').system('touch {mark}')", f"len([open('{mark}','w')])*1\\pi", f'open("{mark}","w")']
    verdicts = verifier.verify([rf"\boxed{{{payload}}}" for payload in payloads], [problem(r"\sqrt{2}")] * 3)
    assert [verdict.status for verdict in verdicts] == ["invalid"] * 3
    assert not mark.exists()


@pytest.mark.parametrize("reference", ["42", r"3\sqrt{5}", "x^2+1", r"\{1,\sqrt{2}\}"])
def test_a_hostile_batch_costs_seconds(verifier: MathVerifier, problem: Make, reference: str) -> None:
    answers = [f"{answer} + {i}" for i in range(22) for answer in HOSTILE_ANSWERS][:1000]
    texts = [rf"\boxed{{{answer}}}" for answer in answers + HOSTILE_ANSWERS][:1014] + HOSTILE_TEXTS
    begin = time.monotonic()
    verdicts = verifier.verify(texts, [problem(reference)] * len(texts))
    assert time.monotonic() - begin < 20
    assert {verdict.status for verdict in verdicts} <= {Status.FAIL, Status.INVALID, Status.LIMIT}


@pytest.mark.parametrize(
    "answer", [r"9^{9^{9^9}}", r"(10^9)!", "9!!!!!!", r"\binom{10^9}{5\cdot 10^8}", "10^{1000000}"]
)
def test_explosive_answers_are_limits(verifier: MathVerifier, problem: Make, answer: str) -> None:
    assert one(verifier, problem, "42", rf"\boxed{{{answer}}}").status == "limit"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [(None, "empty"), ("", "empty"), ("  ", "empty"), ("9" * 5000, "too large"), ("10^{99999}", "too large")],
)
def test_a_reference_that_cannot_be_used_is_refused(
    verifier: MathVerifier, problem: Make, reference: str | None, reason: str
) -> None:
    assert reason in (verifier.check(problem(reference)) or "accepted")
    for text in (r"\boxed{}", r"\boxed{42}", "42"):
        assert verifier.verify([text], [problem(reference)])[0].reward == 0.0
    assert verifier.verify([r"\boxed{42}"], [problem(reference)])[0].status == "error"


def references(data: Path) -> list[str]:
    gsm8k = [json.loads(line)["answer"] for line in (data / "gsm8k_test_part.jsonl").open()]
    math = [json.loads(line)["answer"] for line in (data / "math500_part.jsonl").open()]
    return [answer.split("####")[1].strip() for answer in gsm8k] + math


def test_public_references_verify_against_themselves(verifier: MathVerifier, problem: Make, data: Path) -> None:
    answers = references(data)
    assert [answer for answer in answers if verifier.check(problem(answer)) is not None] == []
    verdicts = verifier.verify([rf"\boxed{{{answer}}}" for answer in answers], [problem(a) for a in answers])
    assert {verdict.status for verdict in verdicts} == {Status.PASS}


def perturbed(answer: str, draw: random.Random) -> str:
    """``answer`` with one of its digits changed, or with 1 added where it has none."""
    digits = [match.start() for match in re.finditer(r"\d", answer)]
    if not digits:
        return answer + " + 1"
    at = draw.choice(digits)
    return answer[:at] + str((int(answer[at]) + draw.randint(1, 9)) % 10) + answer[at + 1 :]


def test_perturbed_references_are_rejected(verifier: MathVerifier, problem: Make, data: Path) -> None:
    draw = random.Random(0)
    answers = references(data)
    pairs = [(answer, perturbed(answer, draw)) for answer in (draw.choice(answers) for _ in range(1000))]
    verdicts = verifier.verify([rf"\boxed{{{wrong}}}" for _, wrong in pairs], [problem(right) for right, _ in pairs])
    accepted = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.status is Status.PASS]
    assert accepted == []
    assert Status.ERROR not in {verdict.status for verdict in verdicts}


@pytest.mark.parametrize(
    "solution",
    ["16 - 3 - 4 = 9 eggs a day.\n9 * 2 = 18 dollars.\n#### 18", "so " * 21 + "18"],
)
def test_a_reference_that_is_a_whole_solution_is_refused(verifier: MathVerifier, problem: Make, solution: str) -> None:
    reason = verifier.check(problem(solution))
    assert reason is not None
    assert "is a whole solution and no answer" in reason
    assert "--task.answer_pattern" in reason
    assert verifier.check(problem(r"\text{at most two thirds of them}")) is None
