"""Mean and t-interval of a small sample, for example of one figure over a few seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class MeanInterval(NamedTuple):
    """``mean`` plus or minus ``half_width``, which is NaN for fewer than two values: they tell nothing of a spread."""

    mean: float
    half_width: float


def mean_interval(sample: Tensor, confidence: float = 0.95) -> MeanInterval:
    """Mean and half-width ``t_{n-1} * s / sqrt(n)`` of its two-sided confidence interval.

    Args:
        sample: [n], n >= 1, independent values.
        confidence: in (0, 1).
    """
    if sample.ndim != 1 or sample.numel() == 0:
        raise ValueError(f"sample has shape {list(sample.shape)}, expected [n] with n >= 1")
    values = sample.to(torch.float64)
    n = values.numel()
    if n == 1:
        return MeanInterval(values.item(), math.nan)
    half_width = student_t_quantile(confidence, n - 1) * values.std().item() / math.sqrt(n)
    return MeanInterval(values.mean().item(), half_width)


def student_t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """The t with ``P(|T| <= t) = confidence``, by bisection on the angle ``atan(t / sqrt(nu))``, which is bounded.

    Args:
        confidence: two-sided, in (0, 1).
        degrees_of_freedom: nu >= 1.
    """
    if not 0 < confidence < 1 or degrees_of_freedom < 1:
        raise ValueError(
            f"confidence is {confidence} and degrees_of_freedom {degrees_of_freedom}, expected (0, 1) and at least 1"
        )
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if _central_probability(middle, degrees_of_freedom) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees_of_freedom) * math.tan(middle)


def _central_probability(angle: float, degrees_of_freedom: int) -> float:
    """``P(|T| <= sqrt(nu) tan(angle))``: the finite sums for whole nu (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    odd = degrees_of_freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if degrees_of_freedom == 1 else term
    for n in range(3 if odd else 2, degrees_of_freedom - 1, 2):
        term *= (n - 1) / n * math.cos(angle) ** 2
        total += term
    tail_free = math.sin(angle) * total
    return 2 / math.pi * (angle + tail_free) if odd else tail_free
