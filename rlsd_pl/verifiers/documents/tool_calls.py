"""Tool calls: read strictly, compared one by one with the reference calls. Arguments stay with their call."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.documents.strict import JSONTextError, read_json, same_json
from rlsd_pl.verifiers.documents.verifier import json_refusal
from rlsd_pl.verifiers.extraction import WholeText
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, limited, passed

MAX_CALLS = 64
_BRACES = re.compile(r"\{|\}\n?")


class CallOrder(StrEnum):
    """Whether calls must come in the reference's order."""

    SEQUENCE = "sequence"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call; ``arguments`` is a JSON object."""

    name: str
    arguments: dict[str, Any]


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
        tags = list(self._TAG.finditer(text))
        if [bool(tag[1]) for tag in tags] != [False, True] * (len(tags) // 2):
            raise JSONTextError("tags_unbalanced")
        pairs = zip(tags[::2], tags[1::2], strict=True)
        return [_call(read_json(text[opening.end() : closing.start()])) for opening, closing in pairs]


class ReActCalls(CallSyntax):
    """``Action: name`` followed by ``Action Input: {...}``, once for each call."""

    instruction = "Write each call as a line Action: name and a line Action Input: followed by a JSON object."
    _MARK = re.compile(r"\bAction( Input)?:")

    def read(self, text: str) -> list[ToolCall]:
        marks = list(self._MARK.finditer(text))
        calls, name = [], ""
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        for mark, end in zip(marks, ends, strict=False):  # one end too many where there is no mark
            body = text[mark.end() : end].strip()
            if mark[1] is None:
                name = body.rstrip("/ \n")
                continue
            # What follows the object on later lines is the model's talk.
            calls.append(_call({"name": name, "arguments": read_json(_first_object(body))}))
            name = ""
        if name:
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
        try:
            calls = self.syntax.read(WholeText().extract(text).answer or "")
        except JSONTextError as error:
            return json_refusal(error)
        if len(calls) > MAX_CALLS:
            return limited("too_many_calls")
        if not calls and expected:
            return invalid("no_call")
        same = _same_sequence if self.order is CallOrder.SEQUENCE else _same_multiset
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
    return ToolCall(value["name"], value["arguments"])


def _first_object(body: str) -> str:
    """``body`` up to the line that closes its object; all of it if none does."""
    depth = 0
    for match in _BRACES.finditer(body):
        depth += 1 if match[0] == "{" else -1
        if match[0] == "}\n" and depth == 0:
            return body[: match.start() + 1]
    return body


@lru_cache(maxsize=4096)
def _reference_calls(text: str) -> list[ToolCall]:
    return JSONCalls().read(text)


def _same_call(left: ToolCall, right: ToolCall) -> bool:
    return left.name == right.name and same_json(left.arguments, right.arguments)


def _same_sequence(calls: list[ToolCall], expected: list[ToolCall]) -> bool:
    return len(calls) == len(expected) and all(map(_same_call, calls, expected))


def _same_multiset(calls: list[ToolCall], expected: list[ToolCall]) -> bool:
    remaining = list(calls)
    for call in expected:
        found = next((i for i, other in enumerate(remaining) if _same_call(other, call)), None)
        if found is None:
            return False
        del remaining[found]
    return not remaining
