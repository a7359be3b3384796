"""Random and mutated completions through every verifier: no exception, no hang, no leaked process, flat memory."""

from __future__ import annotations

import json
import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import HOSTILE_ANSWERS
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers import (
    ChoiceVerifier,
    JSONSchemaVerifier,
    MathVerifier,
    NumericVerifier,
    RegexVerifier,
    ThinkAnswerVerifier,
    ToolCallVerifier,
)
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.code.blocks import LanguageBlock
from rlsd_pl.verifiers.documents.tool_calls import ReActCalls
from rlsd_pl.verifiers.documents.verifier import JSONAnswerVerifier
from rlsd_pl.verifiers.extraction import HashLine
from rlsd_pl.verifiers.math.leaves import Policy
from rlsd_pl.verifiers.math.verifier import judge_exactly, reference_fault
from rlsd_pl.verifiers.workers.pool import WorkerLimits

Make = Callable[..., Problem]
QUICK = WorkerLimits(wall_seconds=1.0, memory_bytes=1 << 30)
PIECES = [
    r"\boxed{", "}", "{", r"\frac{1}{2}", r"\sqrt", "^", "_", "42", "1,234", ".", r"\pi", "x", "=", r"\le", "(", ")",
    "[", "]", r"\{", r"\}", r"\text{ cm}", r"\pm", r"\cup", "%", "$", r"\begin{pmatrix}", r"\end{pmatrix}", "&", r"\\",
    "!", "<think>", "</think>", "<answer>", "</answer>", "####", "Answer:", "```", '"a"', ":", "true", "null", "1e9",
    "-", "<tool_call>", "</tool_call>", "Action:", "Action Input:", "\u0663", "\u00bd", "\u200b", "\x00", "\ud800",
    " ", "\n",
]  # fmt: skip
SEEDS = [
    r"So the answer is \boxed{\frac{3}{4}}.", r"\boxed{3\sqrt{5}}", r"\boxed{(1, \frac{\pi}{2})}", r"\boxed{x^2+2x+1}",
    "<think>a</think><answer>1</answer>", '{"a": [1, {"b": null}], "c": "d"}', "so\n#### 1,234", "```json\n{}\n```",
    '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', 'Action: f\nAction Input: {"a": 1}',
]  # fmt: skip


def completions(count: int, seed: int, seeds: list[str]) -> list[str]:
    draw = random.Random(seed)
    return [_mutated(draw, draw.choice(seeds)) if draw.random() < 0.7 else _joined(draw) for _ in range(count)]


def _joined(draw: random.Random) -> str:
    inner = "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 25)))
    return rf"\boxed{{{inner}}}" if draw.random() < 0.6 else inner


def _mutated(draw: random.Random, text: str) -> str:
    for _ in range(draw.randint(1, 4)):
        start, end = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        edit = draw.choice(("insert", "delete", "repeat"))
        if edit == "insert":
            text = text[:start] + draw.choice(PIECES) + text[start:]
        elif edit == "delete":
            text = text[:start] + text[min(end, start + 5) :]
        else:
            text = text[:end] + text[start:end] * draw.randint(1, 3) + text[end:]
        text = text[:5000]
    return text


SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}, "required": ["a"]}
CASES: dict[str, tuple[Callable[[], Verifier], str | None, dict[str, object]]] = {
    "math": (lambda: MathVerifier(limits=QUICK), r"3\sqrt{5}", {}),
    "json_schema": (lambda: JSONSchemaVerifier(limits=QUICK), None, {"schema": SCHEMA}),
    "json_answer": (JSONAnswerVerifier, '{"a": 1}', {}),
    "tagged_calls": (ToolCallVerifier, "[]", {}),
    "react_calls": (lambda: ToolCallVerifier(ReActCalls()), "[]", {}),
    "regex": (lambda: RegexVerifier(r"(?s).*boxed.*"), None, {}),
    "think_answer": (ThinkAnswerVerifier, None, {}),
    "choice": (ChoiceVerifier, "A", {}),
    "numeric": (NumericVerifier, "5", {}),
}


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def _children() -> set[int]:
    tasks = Path("/proc/self/task")
    return {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list(CASES))
def test_any_text_gets_a_verdict(name: str, count: int, problem: Make, request: pytest.FixtureRequest) -> None:
    make, answer, metadata = CASES[name]
    before = _children()
    verifier, case = make(), problem(answer, **metadata)
    seeds = SEEDS + _real_completions(request) if count > 500 else SEEDS
    verifier.verify(completions(100, 1, seeds), [case] * 100)
    resident, begin = _resident(os.getpid()), time.monotonic()
    for block in range(0, count, 500):
        texts = completions(500, 2 + block, seeds)
        verdicts = verifier.verify(texts, [case] * len(texts))
        assert len(verdicts) == len(texts)
        assert not [verdict for verdict in verdicts if verdict.status is Status.ERROR]
        assert all(0 <= verdict.reward <= 1 and len(verdict.detail) <= 200 for verdict in verdicts)
    assert time.monotonic() - begin < count * 0.1
    assert _resident(os.getpid()) - resident < 64 << 20
    verifier.close()
    assert _children() == before


def _real_completions(request: pytest.FixtureRequest) -> list[str]:
    data = Path(__file__).parents[2] / "../shared/data"
    if not data.is_dir():
        return []
    solutions = [json.loads(line)["solution"] for line in (data / "math500_part.jsonl").open()]
    return [solution[-600:] for solution in solutions]


@settings(max_examples=500, deadline=2000)
@given(st.text(max_size=400) | st.lists(st.sampled_from(PIECES + HOSTILE_ANSWERS[:20]), max_size=12).map("".join))
def test_the_exact_tiers_take_any_answer(text: str) -> None:
    for reference in ("42", r"3\sqrt{5}", r"\{1,2\}"):
        judge_exactly(text, reference, Policy())


@settings(max_examples=300, deadline=2000)
@given(st.text(alphabet="0123456789./,-+^{}()\\frac sqrtpix=%$", max_size=40))
def test_an_answer_that_is_its_reference_passes_or_is_refused(text: str) -> None:
    verdict = judge_exactly(text, text, Policy())
    assert verdict is not None
    if reference_fault(text):
        assert verdict.status is Status.ERROR
    else:
        assert verdict.status in (Status.PASS, Status.LIMIT)


LONG_EXTRACTIONS = {"code_block": LanguageBlock("python").extract, "hash_line": HashLine().extract}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("json_answer", '"' + '\\"' * 50_000),
        ("json_answer", '"\\' * 50_000),
        ("tagged_calls", '<tool_call>"' + '\\"' * 50_000 + "</tool_call>"),
        ("react_calls", "Action: f\nAction Input: " + "{" * 50_000 + "}\n" * 40_000),
        ("code_block", "```" + "a" * 100_000 + "`"),
        ("code_block", "```" + " " * 100_000 + "`"),
        ("math", r"\boxed" + " " * 100_000),
        ("math", r"\boxed{" * 20_000),
        ("think_answer", "<think>" * 20_000),
        ("numeric", r"\boxed{" + "1" * 100_000 + "}"),
        ("choice", r"\boxed{" + " " * 100_000 + "}"),
        ("hash_line", (" " * 1000 + "\n") * 100),
    ],
)
def test_what_this_process_reads_takes_linear_time(name: str, text: str, problem: Make) -> None:
    begin = time.process_time()
    if name in LONG_EXTRACTIONS:
        LONG_EXTRACTIONS[name](text)
    else:
        make, answer, metadata = CASES[name]
        (verdict,) = make().verify([text], [problem(answer, **metadata)])
        assert verdict.reward == 0
    assert time.process_time() - begin < 0.5
