"""Schedules of a coefficient over iterations, counted from 0 (one iteration = one rollout and its updates).

Each runs through up to three phases: a linear rise from 0 over ``warmup`` iterations, the initial value for ``hold``
iterations, then the decay. With neither, iteration 0 has the initial value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A coefficient as a function of the iteration."""

    @abstractmethod
    def __call__(self, iteration: int) -> float:
        """Value in this iteration, counted from 0."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout.

    Attributes:
        value: in every iteration after the warm-up.
        warmup: iterations of linear rise from 0 before it.

    >>> [Constant(0.5, warmup=2)(iteration) for iteration in range(4)]
    [0.0, 0.25, 0.5, 0.5]
    """

    value: float = 1.0
    warmup: int = 0

    def __call__(self, iteration: int) -> float:
        return self.value * _warmup_factor(iteration, self.warmup)


@dataclass(frozen=True)
class LinearDecay(Schedule):
    """``initial`` to ``final`` in equal steps over ``iterations``.

    Source of the defaults: RLSD, arXiv:2604.03128: .5 at iteration 0, and 0 from iteration 50 on.

    Attributes:
        initial, final: the two ends.
        iterations: length of the decay, at least 1.
        warmup: iterations of linear rise from 0 before it.
        hold: iterations at ``initial`` between the two.

    Raises:
        ValueError: for a decay without length.

    >>> [LinearDecay()(iteration) for iteration in (0, 1, 25, 50, 99)]
    [0.5, 0.49, 0.25, 0.0, 0.0]
    """

    initial: float = 0.5
    final: float = 0.0
    iterations: int = 50
    warmup: int = 0
    hold: int = 0

    def __post_init__(self) -> None:
        _check_decay(self.iterations)

    def __call__(self, iteration: int) -> float:
        decayed = _decayed_fraction(iteration - self.warmup - self.hold, self.iterations)
        value = self.initial + (self.final - self.initial) * decayed
        return value * _warmup_factor(iteration, self.warmup)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """``initial`` to ``final`` along half a cosine over ``iterations``.

    Source: SGDR, arXiv:1608.03983, equation 5.

    Attributes:
        initial, final: the two ends.
        iterations: length of the decay, at least 1.
        warmup: iterations of linear rise from 0 before it.
        hold: iterations at ``initial`` between the two.

    Raises:
        ValueError: for a decay without length.

    >>> [round(CosineDecay(iterations=4)(iteration), 4) for iteration in range(6)]
    [0.5, 0.4268, 0.25, 0.0732, 0.0, 0.0]
    """

    initial: float = 0.5
    final: float = 0.0
    iterations: int = 50
    warmup: int = 0
    hold: int = 0

    def __post_init__(self) -> None:
        _check_decay(self.iterations)

    def __call__(self, iteration: int) -> float:
        decayed = _decayed_fraction(iteration - self.warmup - self.hold, self.iterations)
        value = self.final + (self.initial - self.final) * 0.5 * (1 + math.cos(math.pi * decayed))
        return value * _warmup_factor(iteration, self.warmup)


CHECKED_ITERATIONS = 2000
"""How far ahead :func:`check_schedule` looks."""


def check_schedule(schedule: Schedule, setting: str, most: float = math.inf) -> None:
    """Refuse a schedule now that would leave its range during training.

    Args:
        setting: to name in the message.
        most: largest value; the least is 0.

    Raises:
        ValueError: names the first iteration whose value is negative, above ``most`` or not finite.
    """
    for iteration in range(CHECKED_ITERATIONS):
        value = schedule(iteration)
        if not (0 <= value <= most and math.isfinite(value)):
            wanted = "finite values of at least 0" if most == math.inf else f"values from 0 to {most:g}"
            raise ValueError(
                f"Got {setting}={schedule!r}, which is {value} in iteration {iteration}; expected {wanted}."
            )


def _warmup_factor(iteration: int, warmup: int) -> float:
    """0 at iteration 0, 1 from ``warmup`` on."""
    if iteration < 0:
        raise ValueError(f"iteration is {iteration}, expected 0 or more; iterations count from 0")
    return min(1.0, iteration / warmup) if warmup > 0 else 1.0


def _decayed_fraction(iterations_into_decay: int, iterations: int) -> float:
    """Share of the decay that is done, in [0, 1]."""
    return min(1.0, max(0.0, iterations_into_decay / iterations))


def _check_decay(iterations: int) -> None:
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}, expected at least 1; for no decay use Constant")
