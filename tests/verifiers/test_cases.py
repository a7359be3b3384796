"""Every public adversarial case of these areas gets its expected status, in bounded time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd_pl.types import Problem
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.choice import ChoiceVerifier
from rlsd_pl.verifiers.documents.tool_calls import ReActCalls, ToolCallVerifier
from rlsd_pl.verifiers.documents.verifier import JSONSchemaVerifier
from rlsd_pl.verifiers.extraction import AnswerLine, HashLine
from rlsd_pl.verifiers.format import ThinkAnswerVerifier
from rlsd_pl.verifiers.math.verifier import MathVerifier

Make = Callable[..., Problem]
_FILE = Path(__file__).parents[2] / "../shared/data/verifier_cases.jsonl"
_AREAS = ("math", "json", "format")
CASES = [json.loads(line) for line in _FILE.open()] if _FILE.exists() else []
CASES = [case for case in CASES if case["area"] in _AREAS]
SECONDS = 8.0  # a worker's start, and its wall limit

Setup = tuple[Verifier, Problem, list[str]]


def math_case(case: dict[str, Any], problem: Make) -> Setup:
    reference = re.sub(r"^gold ", "", case["task"]).split(", ")[0]
    text = re.sub(r"^(.*) repeated 5000 times$", lambda match: match[1] * 5000, case["input"])
    if text.startswith("answer passed as: "):
        return MathVerifier(AnswerLine()), problem(reference), [text.replace("answer passed as:", "Answer:")]
    return MathVerifier(), problem(reference), [text]


def json_case(case: dict[str, Any], problem: Make) -> Setup:
    schemas = [part if part.startswith("{") else f'{{"$ref": "{part}"}}' for part in case["task"].split(" or ")]
    text = case["input"]
    if text == "array of 6000 objects":
        text = json.dumps([{"a": n} for n in range(6000)], separators=(",", ":"))
    return JSONSchemaVerifier(), problem(schema=schemas[0]), [text]


def calls(task: str) -> str:
    """``tools f(a=1), g(b=2)`` as the reference's JSON."""
    found = re.findall(r"(\w+)\((?:(\w)=(\d+))?\)", task)
    return json.dumps([{"name": name, "arguments": {key: int(n)} if key else {}} for name, key, n in found])


def format_case(case: dict[str, Any], problem: Make) -> Setup:
    task, text = case["task"], case["input"]
    if task.startswith("GSM8K"):
        return MathVerifier(HashLine()), problem(task.split()[-1]), [part.strip() for part in text.split("   |   ")]
    if task.startswith("MCQ"):
        return ChoiceVerifier(rule=AnswerLine()), problem(task[-1]), ["Answer: " + text]
    if task.startswith("tool"):
        described = re.sub(r"Action (\w+) with \{(\w):(\d)\};?", r'Action: \1\nAction Input: {"\2": \3}\n', text)
        return ToolCallVerifier(ReActCalls()), problem(calls(task)), [described]
    if "gold" in task:
        return MathVerifier(), problem("42"), [text]
    return ThinkAnswerVerifier(), problem(), [text]


@pytest.mark.skipif(not CASES, reason="the public data files are not beside the repository")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_case_gets_its_status(case: dict[str, Any], problem: Make) -> None:
    build = {"math": math_case, "json": json_case, "format": format_case}[case["area"]]
    verifier, example, texts = build(case, problem)
    begin = time.monotonic()
    verdicts = verifier.verify(texts, [example] * len(texts))
    verifier.close()
    assert {verdict.status for verdict in verdicts} == {case["expected"]}
    assert time.monotonic() - begin < SECONDS
