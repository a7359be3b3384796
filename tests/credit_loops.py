"""Statistics of credit as loops over plain floats; NaN where they are not defined."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def gini(x: Sequence[float]) -> float:
    """Mean absolute difference of all pairs, half of it, relative to the mean."""
    if not sum(x):
        return math.nan
    differences = sum(abs(a - b) for a in x for b in x) / len(x) ** 2
    return differences / 2 / (sum(x) / len(x))


def top_tenth(x: Sequence[float]) -> float:
    """Each token in ten parts; the largest tenth of all parts."""
    if not sum(x):
        return math.nan
    parts = sorted((value / 10 for value in x for _ in range(10)), reverse=True)
    return sum(parts[: len(x)]) / sum(parts)


def auroc(x: Sequence[float], positive: Sequence[bool]) -> float:
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, is_positive in zip(x, positive, strict=True)
        if is_positive
        for b, is_other in zip(x, positive, strict=True)
        if not is_other
    ]
    return sum(wins) / len(wins) if wins else math.nan


def precision_at_k(x: Sequence[float], positive: Sequence[bool]) -> float:
    """Mean over all orders of the tokens that rank them by score."""
    k = sum(positive)
    if not k:
        return math.nan
    ranked = [
        order
        for order in itertools.permutations(range(len(x)))
        if all(x[a] >= x[b] for a, b in itertools.pairwise(order))
    ]
    return sum(positive[t] for order in ranked for t in order[:k]) / k / len(ranked)
