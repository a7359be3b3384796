"""What several runs of a method say together, and against a baseline on common seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

BySeed = Mapping[int, float]
"""One finite number per seed."""

Floats = NDArray[np.float64]


class MeanInterval(NamedTuple):
    """``mean`` plus or minus ``half_width``, which is NaN for fewer than two values: they tell nothing of a spread."""

    mean: float
    half_width: float


def mean_interval(sample: ArrayLike, confidence: float = 0.95) -> MeanInterval:
    """Mean and half-width ``t_{n-1} * s / sqrt(n)`` of its two-sided confidence interval.

    Args:
        sample: [n], n >= 1, independent values.
        confidence: in (0, 1).

    Raises:
        ValueError: for another shape.

    >>> mean_interval([1.0, 2.0, 3.0])
    MeanInterval(mean=2.0, half_width=2.4841377...)
    """
    values = np.asarray(sample, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"sample has shape {list(values.shape)}, expected [n] with n >= 1")
    if values.size == 1:
        return MeanInterval(float(values[0]), math.nan)
    return MeanInterval(float(values.mean()), t_quantile(confidence, values.size) * float(stats.sem(values)))


def t_quantile(confidence: float, n: int) -> float:
    """The t with ``P(|T| <= t) = confidence`` for a mean of n values, that is n - 1 degrees of freedom.

    Raises:
        ValueError: for a confidence outside (0, 1) or fewer than two values.

    >>> round(t_quantile(0.95, 5), 3)
    2.776
    """
    if not 0 < confidence < 1 or n < 2:
        raise ValueError(f"confidence is {confidence} and n {n}, expected (0, 1) and at least 2")
    return float(stats.t.ppf((1 + confidence) / 2, n - 1))


def common_seeds(*methods: Mapping[int, object]) -> list[int]:
    """Seeds that all have, in order."""
    return sorted(set.intersection(*(set(method) for method in methods)))


class PairedDifference(NamedTuple):
    """Mean of the differences on common seeds, with the half-width of its t interval (NaN below two seeds)."""

    mean: float
    half_width: float
    seeds: int


def paired_difference(method: BySeed, baseline: BySeed, confidence: float = 0.95) -> PairedDifference:
    """``mean_s(method_s - baseline_s)`` over the common seeds s, with the interval of the paired t test.

    >>> paired_difference({0: 0.5, 1: 0.75, 7: 0.9}, {0: 0.25, 1: 0.25})
    PairedDifference(mean=0.375, half_width=1.588275..., seeds=2)
    """
    seeds = common_seeds(method, baseline)
    if not seeds:
        return PairedDifference(math.nan, math.nan, 0)
    return PairedDifference(*mean_interval([method[s] - baseline[s] for s in seeds], confidence), len(seeds))


def probability_of_improvement(method: ArrayLike, baseline: ArrayLike) -> float:
    """``P(X > Y) + P(X = Y) / 2`` over all pairs of a run X of the method and a run Y of the baseline, seeds aside.

    Source: Agarwal et al. 2021, section 4.3: the Mann-Whitney U over the number of pairs.

    Args:
        method: [n], n >= 1.
        baseline: [m], m >= 1.

    >>> probability_of_improvement([3.0, 1.0], [1.0, 0.0])
    0.875
    """
    difference = np.subtract.outer(np.asarray(method, np.float64), np.asarray(baseline, np.float64))
    return float(((np.sign(difference) + 1) / 2).mean())


def interquartile_mean(values: ArrayLike) -> float:
    """Mean without the ``floor(n / 4)`` lowest and highest; below four values, the mean.

    Source: Agarwal et al. 2021, section 4.3.

    >>> interquartile_mean([0.0, 1.0, 2.0, 3.0, 100.0])
    2.0
    """
    return float(stats.trim_mean(np.asarray(values, np.float64), 0.25))


def bootstrap_band(curves: ArrayLike, confidence: float = 0.95, resamples: int = 2000) -> tuple[Floats, Floats]:
    """Percentile bootstrap of the mean curve; whole curves are drawn with replacement. For the eye, not for claims.

    With a few curves it is too narrow: it never reaches beyond the extreme ones.

    Args:
        curves: [n, T], n >= 2 runs at T iterations.
        resamples: draws; the same ones at every call.

    Returns:
        low and high, [T] each.
    """
    found = stats.bootstrap(
        (np.asarray(curves, np.float64),), np.mean, axis=0, n_resamples=resamples, confidence_level=confidence,
        method="percentile", vectorized=True, rng=np.random.default_rng(0),
    )  # fmt: skip
    return np.asarray(found.confidence_interval.low), np.asarray(found.confidence_interval.high)


@dataclass(frozen=True)
class Comparison:
    """One figure of one objective over its runs, and against a baseline; NaN where there is none.

    Attributes:
        objective: its name.
        mean, half_width, n: over all its runs; the 95 % t interval.
        iqm: interquartile mean.
        difference, difference_half_width, common_seeds: paired, from the baseline.
        probability: of improvement on the baseline.
    """

    objective: str
    mean: float = math.nan
    half_width: float = math.nan
    n: int = 0
    iqm: float = math.nan
    difference: float = math.nan
    difference_half_width: float = math.nan
    common_seeds: int = 0
    probability: float = math.nan


def compare(values: Mapping[str, BySeed], baseline: str | None) -> list[Comparison]:
    """Each objective by itself and against the one named ``baseline``, in their order."""
    return [
        _compared(name, by_seed, values.get(baseline or "", {}) if name != baseline else {})
        for name, by_seed in values.items()
    ]


def _compared(name: str, values: BySeed, baseline: BySeed) -> Comparison:
    if not values:
        return Comparison(name)
    own: Sequence[float] = list(values.values())
    mean, half_width = mean_interval(own)
    alone = Comparison(name, mean, half_width, len(own), interquartile_mean(own))
    if not baseline:
        return alone
    difference, difference_half_width, common = paired_difference(values, baseline)
    return replace(
        alone,
        difference=difference,
        difference_half_width=difference_half_width,
        common_seeds=common,
        probability=probability_of_improvement(own, list(baseline.values())),
    )
