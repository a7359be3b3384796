"""Held-out completions, as much of them as is known; from the batches of whichever module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Sample:
    """One held-out completion. ``None`` stands for what is not known; such a sample does not count in that measure.

    Attributes:
        prompt, completion: the text that the policy saw, and what it wrote.
        reference: text that the policy must not have seen: the solution, the answer, whatever a teacher is shown.
        answer: the final answer, extracted from the completion.
        correct: whether that is right.
        invalid: whether the completion has no usable answer.
        hollow: whether it has an answer that its own steps do not yield.
        tokens: its length.
        surprisal: minus the sum of the log-probs of its tokens as they were drawn, nats. Unknown for a greedy one.
        confidence: probability of the answer's tokens behind all that the completion says before, in [0, 1].
    """

    prompt: str
    completion: str
    reference: str | None = None
    answer: str | None = None
    correct: bool | None = None
    invalid: bool | None = None
    hollow: bool | None = None
    tokens: int | None = None
    surprisal: float | None = None
    confidence: float | None = None


class Texts(Protocol):
    """What a validation batch, or what ``validation_step`` returns, has to offer, as attributes or as keys.

    ``prompts`` and ``completions`` are as many texts. Beside them there may be, of the same length, ``references``,
    ``answers``, ``correct``, ``invalid``, ``hollow``, ``tokens``, ``surprisals`` and ``confidences``, with what
    :class:`Sample` says of each one.
    """

    prompts: Sequence[str]
    completions: Sequence[str]


FIELDS = {
    "prompts": "prompt",
    "completions": "completion",
    "references": "reference",
    "answers": "answer",
    "correct": "correct",
    "invalid": "invalid",
    "hollow": "hollow",
    "tokens": "tokens",
    "surprisals": "surprisal",
    "confidences": "confidence",
}


def samples_of(offered: object) -> list[Sample] | None:
    """The completions of a :class:`Texts`; ``None`` where there are no prompts and completions in text.

    Raises:
        ValueError: if its columns differ in length.
    """
    columns = {name: column for name in FIELDS if (column := _column(offered, name)) is not None}
    if not all(_are_texts(columns.get(name)) for name in ("prompts", "completions")):
        return None
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Got a {type(offered).__name__} with columns of the lengths {lengths}; expected one length.")
    rows = zip(*columns.values(), strict=True)
    names = [FIELDS[name] for name in columns]
    return [Sample(**{name: _plain(value) for name, value in zip(names, row, strict=True)}) for row in rows]


def _column(offered: object, name: str) -> Any:
    return offered.get(name) if isinstance(offered, Mapping) else getattr(offered, name, None)


def _are_texts(column: Any) -> bool:
    return (
        isinstance(column, Sequence) and not isinstance(column, str) and all(isinstance(text, str) for text in column)
    )


def _plain(value: Any) -> Any:
    """Numbers of tensors and arrays as Python's."""
    return value.item() if hasattr(value, "item") else value
