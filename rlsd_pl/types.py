"""The typed containers that travel through one iteration.

Shapes: P prompts, G completions per prompt (a *group*), B = P * G, T completion tokens, V vocabulary.
``None`` means *absent*; an empty string or tensor never does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

import torch
from torch import Tensor

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
    privileged: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """Content of the last user turn."""
        return next(m["content"] for m in reversed(self.messages) if m["role"] == "user")


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion, as the engine produced it.

    Attributes:
        token_ids: the T sampled ids, EOS included. These are scored; the text is never re-encoded.
        logprobs: T log-probs (nats) of the sampled ids under the sampling distribution (temperature applied).
        text: the decoded ids without special tokens; for verifiers and eyes only.
        truncated: True if the token limit ended it (no EOS).
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion.

    Attributes:
        reward: in [0, 1]; 0 unless status is ``pass`` (or a composite gives part of it).
        status: one of the five outcomes; ``error`` masks the sample out of the loss.
        detail: a short reason for people; length-capped by the verifier.
        metrics: extra numbers per completion that are averaged and logged, for example ``hollow``.
        spans: named character ranges of the text, for example ``decisive`` (the lab knows them).
    """

    reward: float
    status: Status
    detail: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A completion of a problem with its verdict."""

    problem: Problem
    completion: Completion
    verdict: Verdict
