"""One rollout phase: problems in, verified, scored and credited completions out."""

from rlsd_pl.rollout.collector import RolloutCollector, RolloutSet
from rlsd_pl.rollout.sampler import SampledGroups, Sampler
from rlsd_pl.rollout.scorer import Scorer

__all__ = ["RolloutCollector", "RolloutSet", "SampledGroups", "Sampler", "Scorer"]
