"""The task interface: where problems come from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rlsd_pl.types import Problem

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Example:
    """A problem that is shown solved, in front of others.

    Attributes:
        problem: with an answer of ``None`` where it is not known.
        solution: the assistant's turn.
    """

    problem: Problem
    solution: str

    @property
    def prompt(self) -> str:
        """What the problem asks, without blanks around it."""
        return self.problem.prompt.strip()


class Task(ABC):
    """A source of problems, addressed by split and index.

    A task is a function, not an iterator: ``problem(split, index)`` depends on the task's arguments (its seed among
    them), the split and the index alone. So every rank, every resumed run and every objective can name the same
    problems without carrying any random state. Validation problems never occur in training: the task holds that.
    """

    name: str
    """Short name; the first part of every problem's id, for example ``"chain"`` in ``"chain/train/17"``."""

    examples: Sequence[Example] = ()
    """Worked examples that stand in the chat of every problem. None of them is a problem of either split."""

    @abstractmethod
    def problem(self, split: Split, index: int) -> Problem:
        """The problem at ``index``.

        Raises:
            ValueError: if ``split`` is neither ``"train"`` nor ``"val"``.
            IndexError: if ``index`` is negative, or not below :meth:`size` of a finite split.
        """

    @abstractmethod
    def size(self, split: Split) -> int | None:
        """Number of problems in the split, or ``None`` if it is endless."""


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: below a share, a problem is held out."""
    return int.from_bytes(hashlib.blake2b(text.strip().encode(), digest_size=8).digest(), "big") / 2**64
