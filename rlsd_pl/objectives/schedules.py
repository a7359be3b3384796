"""Schedules of a coefficient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from rlsd_pl import functional as F


class Schedule(ABC):
    """A coefficient as a function of the 0-based iteration."""

    @abstractmethod
    def __call__(self, iteration: int) -> float:
        """Value in this iteration."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout.

    Attributes:
        value: in every iteration after the warm-up.
        warmup: iterations of linear rise from 0 before it.
    """

    value: float = 1.0
    warmup: int = 0

    def __call__(self, iteration: int) -> float:
        return F.constant(iteration, self.value, self.warmup)


@dataclass(frozen=True)
class LinearDecay(Schedule):
    """``initial`` to ``final`` in equal steps over ``iterations``. RLSD: .5 to 0 over 50.

    Attributes:
        initial, final: the two ends.
        iterations: length of the decay.
        warmup: iterations of linear rise from 0 before it.
        hold: iterations at ``initial`` between the two.
    """

    initial: float = 0.5
    final: float = 0.0
    iterations: int = 50
    warmup: int = 0
    hold: int = 0

    def __call__(self, iteration: int) -> float:
        return F.linear_decay(iteration, self.initial, self.final, self.iterations, self.warmup, self.hold)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """``initial`` to ``final`` along half a cosine over ``iterations`` (SGDR, 1608.03983).

    Attributes:
        initial, final: the two ends.
        iterations: length of the decay.
        warmup: iterations of linear rise from 0 before it.
        hold: iterations at ``initial`` between the two.
    """

    initial: float = 0.5
    final: float = 0.0
    iterations: int = 50
    warmup: int = 0
    hold: int = 0

    def __call__(self, iteration: int) -> float:
        return F.cosine_decay(iteration, self.initial, self.final, self.iterations, self.warmup, self.hold)
