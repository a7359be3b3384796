"""Tool calls: pairwise, type-strict, ordered by policy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rlsd_pl.types import Problem
from rlsd_pl.verifiers.documents.tool_calls import CallOrder, JSONCalls, ReActCalls, TaggedCalls, ToolCallVerifier

Make = Callable[..., Problem]


def calls(*pairs: tuple[str, dict]) -> str:
    return json.dumps([{"name": name, "arguments": arguments} for name, arguments in pairs])


F1 = calls(("f", {"a": 1}))
F_G = calls(("f", {"a": 1}), ("g", {"b": 2}))


@pytest.mark.parametrize(
    ("reference", "text", "status"),
    [
        (F1, 'Action: f\nAction Input: {"a": 1}', "pass"),
        (F1, 'I will call it.\nAction: f\nAction Input: {\n "a": 1\n}\nThen I wait.', "pass"),
        (F1, 'Action: f / Action Input: {"a": 1}', "pass"),
        (F1, 'Action: f\nAction Input: {"a": true}', "fail"),
        (F1, 'Action Input: {"a": 1}', "fail"),
        (F1, 'Action: g\nAction Input: {"a": 1}', "fail"),
        (calls(("f", {})), 'Action: f / Action Input: {"drop": ', "invalid"),
        (calls(("f", {})), "Action: f", "invalid"),
        (calls(("f", {})), 'Action: f\nAction Input: {"a": 1, "a": 2}', "invalid"),
        (F_G, 'Action: f\nAction Input: {"a": 1}\nAction: g\nAction Input: {"b": 2}', "pass"),
        (F_G, 'Action: f\nAction Input: {"b": 2}\nAction: g\nAction Input: {"a": 1}', "fail"),
        (F_G, 'Action: g\nAction Input: {"b": 2}\nAction: f\nAction Input: {"a": 1}', "fail"),
        (F_G, 'Action: f\nAction Input: {"a": 1, "b": 2}', "fail"),
        (F1, "no call", "invalid"),
        ("[]", "no call", "pass"),
    ],
)
def test_react_calls(problem: Make, reference: str, text: str, status: str) -> None:
    verifier = ToolCallVerifier(ReActCalls())
    assert verifier.check(problem(reference)) is None
    assert verifier.verify([text], [problem(reference)])[0].status == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', "pass"),
        ('<tool_call>\n{"arguments": {"a": 1.0}, "name": "f"}\n</tool_call> done', "pass"),
        ('<tool_call>{"name": "f", "arguments": {"a": "1"}}</tool_call>', "fail"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>' * 2, "fail"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}', "invalid"),
        ('<tool_call><tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call></tool_call>', "invalid"),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', "invalid"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}, "x": 0}</tool_call>', "invalid"),
        ('<tool_call>{"name": "f"}</tool_call>', "invalid"),
    ],
)
def test_tagged_calls(problem: Make, text: str, status: str) -> None:
    assert ToolCallVerifier(TaggedCalls()).verify([text], [problem(F1)])[0].status == status


def test_order_is_the_task_s_choice(problem: Make) -> None:
    swapped = calls(("g", {"b": 2}), ("f", {"a": 1}))
    for order, status in ((CallOrder.SEQUENCE, "fail"), (CallOrder.ANY, "pass")):
        verifier = ToolCallVerifier(JSONCalls(), order)
        assert verifier.verify([swapped], [problem(F_G)])[0].status == status
        doubled = calls(("f", {"a": 1}), ("f", {"a": 1}))
        assert verifier.verify([doubled], [problem(F_G)])[0].status == "fail"


@pytest.mark.parametrize("reference", [None, "", "{}", "[1]", '[{"name": "f"}]'])
def test_references_that_are_no_calls_are_refused(problem: Make, reference: str | None) -> None:
    verifier = ToolCallVerifier(JSONCalls())
    assert "JSON array of calls" in (verifier.check(problem(reference)) or "")
    assert verifier.verify(["[]"], [problem(reference)])[0].status == "error"


def test_many_calls_are_a_limit(problem: Make) -> None:
    many = calls(*[("f", {"a": 1})] * 100)
    assert ToolCallVerifier(JSONCalls()).verify([many], [problem(F1)])[0].status == "limit"
