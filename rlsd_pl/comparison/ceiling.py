"""How much of what perfect credit would gain a method gains."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rlsd_pl.comparison.seeds import BySeed, common_seeds, t_quantile


class Share(NamedTuple):
    """Share of the ceiling with its interval; all NaN, with the ``reason``, where it is undefined."""

    share: float
    low: float
    high: float
    seeds: int
    reason: str = ""


def share_of_ceiling(method: BySeed, baseline: BySeed, ceiling: BySeed, confidence: float = 0.95) -> Share:
    """``mean_s(method_s - baseline_s) / mean_s(ceiling_s - baseline_s)`` over common seeds s, with Fieller's interval.

    The interval holds every share q for which a paired t test does not tell ``method - baseline`` from
    ``q (ceiling - baseline)``. It is bounded exactly where the ceiling's own difference has an interval without 0;
    elsewhere the share is undefined. Source: Fieller, J. R. Stat. Soc. B 16, 1954.

    >>> share_of_ceiling({0: 0.625, 1: 0.75}, {0: 0.5, 1: 0.625}, {0: 0.75, 1: 0.875})
    Share(share=0.5, low=0.5, high=0.5, seeds=2, reason='')
    """
    seeds = common_seeds(method, baseline, ceiling)
    if len(seeds) < 2:
        return Share(math.nan, math.nan, math.nan, len(seeds), "fewer than two common seeds")
    gain = np.array([method[s] - baseline[s] for s in seeds])
    room = np.array([ceiling[s] - baseline[s] for s in seeds])
    (v_gain, v_both), (_, v_room) = np.cov(gain, room) * t_quantile(confidence, len(seeds)) ** 2 / len(seeds)
    a, b, c = room.mean() ** 2 - v_room, gain.mean() * room.mean() - v_both, gain.mean() ** 2 - v_gain
    if a <= 0:
        reason = "the ceiling's own difference from the baseline may be 0"
    elif room.mean() < 0:
        reason = "the ceiling lies below the baseline"
    else:
        root = math.sqrt(max(b * b - a * c, 0.0))
        low, high = float((b - root) / a), float((b + root) / a)
        return Share(float(gain.mean() / room.mean()), low, high, len(seeds))
    return Share(math.nan, math.nan, math.nan, len(seeds), reason)
