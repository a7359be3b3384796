"""What is asked, and what a verifier says of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Message = Mapping[str, str]
"""One chat turn: ``{"role": "user" | "system" | "assistant", "content": text}``."""

Span = tuple[int, int]
"""Half-open character range ``[start, end)`` of a completion's text."""


class Status(StrEnum):
    """Outcome of one verification. ``ERROR`` says that the *verifier* failed; it is never a score."""

    PASS = "pass"
    FAIL = "fail"
    INVALID = "invalid"
    LIMIT = "limit"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Problem:
    """One verifiable problem.

    Attributes:
        id: unique and stable within its task, for example ``"gsm8k/17"``.
        messages: the chat that the student sees. Never holds privileged text.
        answer: the final answer that the verifier compares with; ``None`` where the verifier needs none (unit tests).
        privileged: named privileged texts that contexts may show to the teacher, for example ``solution``.
        metadata: what the verifier needs beyond the answer (tests, schema, database path), and free labels.
    """

    id: str
    messages: Sequence[Message]
    answer: str | None = None
    privileged: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def prompt(self) -> str:
        """Content of the last user turn."""
        return next(m["content"] for m in reversed(self.messages) if m["role"] == "user")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion.

    Attributes:
        reward: in [0, 1]; 1 for ``pass``, else 0. Values between stand for partial credit, of a ``fail`` as a rule:
            the share of tests passed, of fields or rows that are right, or of a composite's weights.
        status: one of the five outcomes; ``error`` masks the sample out of the loss.
        detail: a short reason for people; length-capped by the verifier.
        metrics: extra numbers per completion that are averaged and logged, for example ``hollow``.
        spans: named character ranges of the text, for example ``decisive`` (the lab knows them); objectives read them
            as token masks, by the names that ``Verifier.span_names`` lists.
        answer: the final answer as the verifier extracted it, judged right or not; ``None`` where it found
            none or where its kind of task has none.
    """

    reward: float
    status: Status
    detail: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict[str, Sequence[Span]])
    answer: str | None = None
