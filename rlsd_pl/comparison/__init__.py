"""Comparing methods over a few seeds: numpy and scipy alone, one formula per function, each with its source.

On one seed all methods see the same problems and, before the first update, sample the same completions. So seeds pair
runs, and the headline of a comparison is the mean of the differences on common seeds with its t interval. IQM and
probability of improvement are those of rliable (Agarwal et al. 2021, arXiv:2108.13264). Values come by seed.
"""

from rlsd_pl.comparison.ceiling import Share, share_of_ceiling
from rlsd_pl.comparison.curves import (
    Crossing,
    Ratio,
    area_under_curve,
    iteration_ratio,
    iterations_to_target,
    smoothed,
)
from rlsd_pl.comparison.seeds import (
    BySeed,
    Comparison,
    MeanInterval,
    PairedDifference,
    bootstrap_band,
    common_seeds,
    compare,
    interquartile_mean,
    mean_interval,
    paired_difference,
    probability_of_improvement,
    t_quantile,
)

__all__ = [
    "BySeed",
    "Comparison",
    "Crossing",
    "MeanInterval",
    "PairedDifference",
    "Ratio",
    "Share",
    "area_under_curve",
    "bootstrap_band",
    "common_seeds",
    "compare",
    "interquartile_mean",
    "iteration_ratio",
    "iterations_to_target",
    "mean_interval",
    "paired_difference",
    "probability_of_improvement",
    "share_of_ceiling",
    "smoothed",
    "t_quantile",
]
