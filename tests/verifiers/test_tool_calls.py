"""Tool calls: pairwise, type-strict, ordered by policy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        # one action, one input
        (F1, 'Action: g\nAction: f\nAction Input: {"a": 1}', "invalid"),
        (F1, 'Action: f\nAction: f\nAction Input: {"a": 1}', "invalid"),
        (F1, 'Action: f\nAction Input: {"a": 1}\nAction: g', "invalid"),
        (F1, 'Action: f\nAction Input: {"a": 1}\nAction Input: {"a": 1}', "fail"),
        (F1, 'Action: f\nAction Input:\nAction: g\nAction Input: {"a": 1}', "invalid"),
        (F1, 'Action: f\nAction Input:\n{"a":\n1}\n', "pass"),
        (F1, 'Action: f\r\nAction Input: {"a": 1}\r\nDone', "pass"),
        # a name is all of its line
        (F1, 'Action: f/\nAction Input: {"a": 1}', "fail"),
        (F1, 'Action: f//\nAction Input: {"a": 1}', "fail"),
        (F1, 'Action: f / g\nAction Input: {"a": 1}', "fail"),
        (F1, 'Action: f(a=1)\nAction Input: {"a": 1}', "fail"),
        (F1, 'Action: f\u00a0\nAction Input: {"a": 1}', "fail"),
        (F1, 'Action: F\nAction Input: {"a": 1}', "fail"),
        (F1, 'I plan Action: g and then\nAction: f\nAction Input: {"a": 1}', "pass"),
        # what an input holds is no line of its own, and nothing may follow it on its line
        (calls(("f", {"q": "Action: g"})), 'Action: f\nAction Input: {"q": "Action: g"}', "pass"),
        (
            calls(("f", {"q": "\nAction: g\nAction Input: {}"})),
            'Action: f\nAction Input: {"q": "\\nAction: g\\nAction Input: {}"}',
            "pass",
        ),
        (calls(("f", {"Action:": 1})), 'Action: f\nAction Input: {\n"Action:": 1\n}', "pass"),
        (calls(("f", {"q": "}\n"})), 'Action: f\nAction Input: {"q": "}\\n"}\nso', "pass"),
        (F1, 'Action: f\nAction Input: {"q": "Action: f\nAction Input: {"a": 1}"}', "invalid"),
        (F1, 'Action: f\nAction Input: {"a": 1} / Action: g', "invalid"),
        (F1, 'Action: f\nAction Input: {"a": 1}\u00a0', "invalid"),
        (F1, 'Action: f\nAction Input: [{"a": 1}]', "invalid"),
        (F1, 'Action: f\nAction Input: {"a": 1', "invalid"),
        (F1, "Action: f\nAction Input: " + "[" * 100 + "]" * 100, "limit"),
        (F1, 'Action: f\nAction Input: {"a": 1' + "0" * 5000 + "}", "invalid"),
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
        ('</tool_call><tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', "invalid"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call></tool_call>', "invalid"),
        ('<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call>', "fail"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}} so</tool_call>', "invalid"),
        ('<tool_call>\u00a0{"name": "f", "arguments": {"a": 1}}</tool_call>', "invalid"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1, "a": 1}}</tool_call>', "invalid"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1e999999}}</tool_call>', "invalid"),
        ('<tool_call>"' + '\\"' * 9000, "invalid"),
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


def test_tags_within_arguments_are_text(problem: Make) -> None:
    held = calls(("f", {"q": "<tool_call>{}</tool_call>"}))
    text = '<tool_call>{"name": "f", "arguments": {"q": "<tool_call>{}</tool_call>"}}</tool_call>'
    assert ToolCallVerifier().verify([text], [problem(held)])[0].status == "pass"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('Action: f\nAction Input: {"b": 1.0, "a": "\u00e9"}', '[{"arguments":{"a":"\u00e9","b":1},"name":"f"}]'),
        ('so\nAction: f\nAction Input: {"a": 1', 'so\nAction: f\nAction Input: {"a": 1'),
        ("nothing to call", None),
        ('<think>Action: f\nAction Input: {"a": 1}</think>', None),
    ],
)
def test_the_answer_is_the_calls_as_json(problem: Make, text: str, answer: str | None) -> None:
    assert ToolCallVerifier(ReActCalls()).verify([text], [problem(F1)])[0].answer == answer


def test_no_call_can_be_the_answer(problem: Make) -> None:
    assert ToolCallVerifier().verify(["Nothing to do."], [problem("[]")])[0].answer == "[]"
    array = ToolCallVerifier(JSONCalls())
    assert [v.status for v in array.verify(["[]", "\u00a0[]", "[]\f"], [problem("[]")] * 3)] == ["pass"] + [
        "invalid"
    ] * 2


PIECES = [
    "Action:", "Action Input:", " / ", "\n", "{", "}", '"', "\\", "[", "]", "<tool_call>", "</tool_call>", '{"a": 1}',
    '{"name": "f", "arguments": {}}', "f", "1e999999", "9" * 400, "\ud800", "\x00", "\u00a0", ",", ":", "</think>",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=80))
def test_no_text_makes_an_error(text: str) -> None:
    problems = [Problem("p", [], answer=reference) for reference in (F1, "[]")]
    for syntax in (ReActCalls(), TaggedCalls(), JSONCalls()):
        for order in CallOrder:
            verdicts = ToolCallVerifier(syntax, order).verify([text, text], problems)
            assert all(verdict.status != "error" for verdict in verdicts)
