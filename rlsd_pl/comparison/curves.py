"""What a learning curve comes to: the area under it, and how soon it reaches a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlsd_pl.comparison.seeds import Floats, common_seeds, mean_interval


def area_under_curve(iterations: ArrayLike, values: ArrayLike) -> float:
    """Area by the trapezoid rule, divided by the iterations that it spans: the mean height of the curve.

    Args:
        iterations: [T], T >= 2, increasing.
        values: [T].

    >>> area_under_curve([0, 10, 30], [0.0, 1.0, 1.0])
    0.8333333333333334
    """
    x, y = _curve(iterations, values, 2)
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def smoothed(values: ArrayLike, window: int = 3) -> Floats:
    """Centred moving mean [T]; towards the ends the window shrinks on both sides, so a straight line stays as it is.

    Args:
        values: [T].
        window: odd number of points.

    >>> smoothed([0.0, 3.0, 3.0, 9.0]).tolist()
    [0.0, 2.0, 5.0, 9.0]
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window}, expected an odd number of at least 1")
    y = np.asarray(values, np.float64)
    reach = [min(window // 2, i, len(y) - 1 - i) for i in range(len(y))]
    return np.array([y[i - r : i + r + 1].mean() for i, r in enumerate(reach)])


class Crossing(NamedTuple):
    """The iteration at which a curve reaches a target; if it never does (``reached`` False), its last one: censored."""

    iteration: float
    reached: bool


def iterations_to_target(iterations: ArrayLike, values: ArrayLike, target: float, window: int = 3) -> Crossing:
    """Where the :func:`smoothed` curve first reaches ``target``, linear between two points.

    Args:
        iterations: [T], T >= 1, increasing.
        values: [T].

    >>> iterations_to_target([0, 10, 20], [0.0, 0.5, 1.0], 0.75)
    Crossing(iteration=15.0, reached=True)
    """
    x, y = _curve(iterations, values, 1)
    y = smoothed(y, window)
    above = np.flatnonzero(y >= target)
    if not above.size:
        return Crossing(float(x[-1]), False)
    if (first := int(above[0])) == 0:
        return Crossing(float(x[0]), True)
    share = (target - y[first - 1]) / (y[first] - y[first - 1])
    return Crossing(float(x[first - 1] + share * (x[first] - x[first - 1])), True)


def _curve(iterations: ArrayLike, values: ArrayLike, least: int) -> tuple[Floats, Floats]:
    x, y = np.asarray(iterations, np.float64), np.asarray(values, np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size < least or bool((np.diff(x) <= 0).any()):
        raise ValueError(
            f"iterations have shape {list(x.shape)} and values {list(y.shape)}; expected both [T] with T >= {least} "
            "and increasing iterations"
        )
    return x, y


class Ratio(NamedTuple):
    """How many times fewer iterations, on common seeds.

    Attributes:
        ratio: baseline's over method's, geometric mean; above 1 the method is faster.
        low, high: t interval of the mean log ratio; NaN below two seeds and for a bound.
        relation: ``=``; ``<=`` where a run of the method is censored, so that the ratio is at most this; ``>=`` where
            one of the baseline is; ``?`` where both, or a curve begins at the target, and nothing can be said.
        seeds: how many.
    """

    ratio: float
    low: float
    high: float
    relation: str
    seeds: int


def iteration_ratio(
    method: Mapping[int, Crossing], baseline: Mapping[int, Crossing], confidence: float = 0.95
) -> Ratio:
    """``exp(mean_s log(baseline_s / method_s))`` over the common seeds s.

    >>> iteration_ratio({0: Crossing(20.0, True)}, {0: Crossing(60.0, False)})
    Ratio(ratio=3.0..., low=nan, high=nan, relation='>=', seeds=1)
    """
    seeds = common_seeds(method, baseline)
    late = any(not method[s].reached for s in seeds)
    base_late = any(not baseline[s].reached for s in seeds)
    starts_there = any(crossing[s].iteration <= 0 for s in seeds for crossing in (method, baseline))
    if not seeds or (late and base_late) or starts_there:
        return Ratio(math.nan, math.nan, math.nan, "?", len(seeds))
    logs = [math.log(baseline[s].iteration / method[s].iteration) for s in seeds]
    mean, half_width = mean_interval(logs, confidence)
    if late or base_late:
        return Ratio(math.exp(mean), math.nan, math.nan, "<=" if late else ">=", len(seeds))
    return Ratio(math.exp(mean), math.exp(mean - half_width), math.exp(mean + half_width), "=", len(seeds))
