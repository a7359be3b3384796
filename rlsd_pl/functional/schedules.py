"""Schedules: pure functions of the iteration, counted from 0 (one iteration = one rollout and its updates).

Each runs through up to three phases: a linear warm-up from 0 over ``warmup_iterations``, the initial value held for
``hold_iterations``, then the decay. With neither, iteration 0 has the initial value.
"""

from __future__ import annotations

import math


def constant(iteration: int, value: float, warmup_iterations: int = 0) -> float:
    """``value`` after the warm-up."""
    return value * _warmup_factor(iteration, warmup_iterations)


def linear_decay(
    iteration: int,
    initial: float,
    final: float,
    decay_iterations: int,
    warmup_iterations: int = 0,
    hold_iterations: int = 0,
) -> float:
    """From ``initial`` to ``final`` along a line.

    RLSD, arXiv:2604.03128: initial .5, final 0, decay_iterations 50, so .5 at iteration 0 and 0 from iteration 50 on.
    """
    decayed = _decayed_fraction(iteration - warmup_iterations - hold_iterations, decay_iterations)
    value = initial + (final - initial) * decayed
    return value * _warmup_factor(iteration, warmup_iterations)


def cosine_decay(
    iteration: int,
    initial: float,
    final: float,
    decay_iterations: int,
    warmup_iterations: int = 0,
    hold_iterations: int = 0,
) -> float:
    """From ``initial`` to ``final`` along half a cosine (SGDR, arXiv:1608.03983, equation 5)."""
    decayed = _decayed_fraction(iteration - warmup_iterations - hold_iterations, decay_iterations)
    value = final + (initial - final) * 0.5 * (1 + math.cos(math.pi * decayed))
    return value * _warmup_factor(iteration, warmup_iterations)


def _warmup_factor(iteration: int, warmup_iterations: int) -> float:
    """0 at iteration 0, 1 from ``warmup_iterations`` on."""
    if iteration < 0:
        raise ValueError(f"iteration is {iteration}, expected 0 or more; iterations count from 0")
    return min(1.0, iteration / warmup_iterations) if warmup_iterations > 0 else 1.0


def _decayed_fraction(iterations_into_decay: int, decay_iterations: int) -> float:
    """Share of the decay that is done, in [0, 1]."""
    if decay_iterations < 1:
        raise ValueError(f"decay_iterations is {decay_iterations}, expected at least 1; for no decay use constant")
    return min(1.0, max(0.0, iterations_into_decay / decay_iterations))
