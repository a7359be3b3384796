"""Tool calls: read strictly, compared one by one with the reference calls. Arguments stay with their call."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.documents.strict import JSONTextError, canonical_json, read_json, same_json, value_end
from rlsd_pl.verifiers.documents.verifier import json_refusal
from rlsd_pl.verifiers.extraction import Missing, WholeText
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, limited, passed, refusal

MAX_CALLS = 64
_NOT_BLANK = re.compile(r"\S")


class CallOrder(StrEnum):
    """Whether calls must come in the reference's order."""

    SEQUENCE = "sequence"
    ANY = "any"


ToolCall = dict[str, Any]
"""``{"name": a string, "arguments": a JSON object}``."""


class CallSyntax(ABC):
    """How a completion writes its calls."""

    instruction: str

    @abstractmethod
    def read(self, text: str) -> list[ToolCall]:
        """All calls of ``text``, in order. Raises :class:`JSONTextError` if one is not well formed."""


class TaggedCalls(CallSyntax):
    """``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, once for each call (Hermes, Qwen)."""

    instruction = 'Write each call as <tool_call>{"name": ..., "arguments": {...}}</tool_call>.'
    _TAG = re.compile(r"<(/?)tool_call>")

    def read(self, text: str) -> list[ToolCall]:
        calls, position = [], 0
        while (tag := self._TAG.search(text, position)) is not None:
            end = _end_of_input(text, tag.end(), "<")
            closing = self._TAG.search(text, end)
            if tag[1] or closing is None or not closing[1]:
                raise JSONTextError("tags_unbalanced")
            calls.append(_call(read_json(text[tag.end() : closing.start()])))
            position = closing.end()
        return calls


class ReActCalls(CallSyntax):
    """A line ``Action: name`` followed by a line ``Action Input: {...}``, once for each call.

    The input may take several lines; what it holds is never read as a line of its own. `` / `` stands for a line end.
    """

    instruction = "Write each call as a line Action: name and a line Action Input: followed by a JSON object."
    _MARK = re.compile(r"(?:^[ \t]*| / )Action( Input)?:", re.MULTILINE)
    _NAME_END = re.compile(r"\n| / (?=Action Input:)")

    def read(self, text: str) -> list[ToolCall]:
        calls, name, position = [], None, 0
        while (mark := self._MARK.search(text, position)) is not None:
            if mark[1] is None:
                if name is not None:
                    raise JSONTextError("call_incomplete", f"{name[:40]} has no input")
                position = _match_start(self._NAME_END, text, mark.end())
                name = text[mark.end() : position].strip(" \t\r")
            else:
                position = _end_of_input(text, mark.end(), "\n")
                calls.append(_call({"name": name or "", "arguments": read_json(text[mark.end() : position])}))
                name = None
        if name is not None:
            raise JSONTextError("call_incomplete", f"{name[:40]} has no input")
        return calls


class JSONCalls(CallSyntax):
    """The whole text is a JSON array of ``{"name": ..., "arguments": {...}}``."""

    instruction = 'Answer with a JSON array of {"name": ..., "arguments": {...}}.'

    def read(self, text: str) -> list[ToolCall]:
        value = read_json(text)
        if not isinstance(value, list):
            raise JSONTextError("not_an_array")
        return [_call(item) for item in value]


class ToolCallVerifier(Verifier):
    """Passes a completion whose calls are those of ``problem.answer`` (a JSON array, as in :class:`JSONCalls`).

    Names and arguments compare pairwise and by JSON type: ``true`` is not 1. An empty array asks for no call at all.

    Args:
        syntax: how calls are written; its ``instruction`` must be in the prompt.
        order: whether the calls must come in the reference's order.
    """

    def __init__(self, syntax: CallSyntax | None = None, order: CallOrder = CallOrder.SEQUENCE) -> None:
        self.syntax = syntax or TaggedCalls()
        self.order = order
        self.instruction = self.syntax.instruction

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self._judge(text, problem.answer or "") for text, problem in zip(texts, problems, strict=True)]

    def check(self, problem: Problem) -> str | None:
        """The reference must be a JSON array of calls."""
        try:
            _reference_calls(problem.answer or "")
        except JSONTextError as error:
            return f"Problem.answer is not a JSON array of calls: {error}"
        return None

    def _judge(self, text: str, reference: str) -> Verdict:
        try:
            expected = _reference_calls(reference)
        except JSONTextError as error:
            return broken("reference_refused", str(error))
        found = WholeText().extract(text)
        if found.missing not in (None, Missing.EMPTY):
            return refusal(found) or invalid("no_call")
        try:
            calls = self.syntax.read(found.answer or "")
        except JSONTextError as error:
            return replace(json_refusal(error), answer=found.answer)
        answer = canonical_json(calls) if calls or not expected else None
        return replace(self._compare(calls, expected), answer=answer)

    def _compare(self, calls: list[ToolCall], expected: list[ToolCall]) -> Verdict:
        if len(calls) > MAX_CALLS:
            return limited("too_many_calls")
        if not calls and expected:
            return invalid("no_call")
        same = same_json if self.order is CallOrder.SEQUENCE else _same_multiset
        return passed("same_calls") if same(calls, expected) else failed("other_calls")


def _call(value: Any) -> ToolCall:
    well_formed = (
        isinstance(value, dict)
        and value.keys() == {"name", "arguments"}
        and isinstance(value["name"], str)
        and isinstance(value["arguments"], dict)
    )
    if not well_formed:
        raise JSONTextError("call_malformed", "a call is an object of name (a string) and arguments (an object)")
    return value


def _end_of_input(text: str, start: int, stop: str) -> int:
    """Where the input that begins at ``start`` ends: at the first ``stop`` after its object, if it is one that ends."""
    opening = _match_start(_NOT_BLANK, text, start)
    end = value_end(text, opening) if text[opening : opening + 1] in ("{", "[") else -1
    found = text.find(stop, start if end < 0 else end)
    return len(text) if found < 0 else found


def _match_start(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.search(text, start)
    return len(text) if match is None else match.start()


@lru_cache(maxsize=4096)
def _reference_calls(text: str) -> list[ToolCall]:
    return JSONCalls().read(text)


def _same_multiset(calls: list[ToolCall], expected: list[ToolCall]) -> bool:
    remaining = list(calls)
    for call in expected:
        found = next((i for i, other in enumerate(remaining) if same_json(other, call)), None)
        if found is None:
            return False
        del remaining[found]
    return not remaining
