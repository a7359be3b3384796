"""The parts that objectives are composed of: each a small frozen dataclass whose call is its formula.

Every part works on plain tensors, without an objective, a batch or a model around it.
"""

from rlsd_pl.objectives.parts.advantage import (
    AdvantageEstimator,
    BatchNormalized,
    GroupCentered,
    GroupNormalized,
    LeaveOneOut,
)
from rlsd_pl.objectives.parts.divergence import Divergence, EntryClippedJSD, GeneralizedJSD, TopKRenormalized, TopKTail
from rlsd_pl.objectives.parts.importance import ImportanceCorrection, TruncatedImportance
from rlsd_pl.objectives.parts.placement import EvidencePlacement, Permuted, Shifted
from rlsd_pl.objectives.parts.reduction import Reduction, SequenceMean, SequenceSum, TokenMean
from rlsd_pl.objectives.parts.reference import K1, K2, K3, ReferenceKL
from rlsd_pl.objectives.parts.schedule import Constant, CosineDecay, LinearDecay, Schedule
from rlsd_pl.objectives.parts.surrogate import CISPO, GSPO, DualClip, PPOClip, Reinforce, Surrogate
from rlsd_pl.objectives.parts.truncation import KeepReward, MaskTruncated, SoftPenalty, Truncation, ZeroReward
from rlsd_pl.objectives.parts.weighting import (
    EvidenceGate,
    EvidenceWeighting,
    NegativeOnly,
    OneSided,
    ReversedOnAll,
    ReversedOnCorrect,
    TwoSided,
    Weights,
)

__all__ = [
    "CISPO",
    "GSPO",
    "K1",
    "K2",
    "K3",
    "AdvantageEstimator",
    "BatchNormalized",
    "Constant",
    "CosineDecay",
    "Divergence",
    "DualClip",
    "EntryClippedJSD",
    "EvidenceGate",
    "EvidencePlacement",
    "EvidenceWeighting",
    "GeneralizedJSD",
    "GroupCentered",
    "GroupNormalized",
    "ImportanceCorrection",
    "KeepReward",
    "LeaveOneOut",
    "LinearDecay",
    "MaskTruncated",
    "NegativeOnly",
    "OneSided",
    "PPOClip",
    "Permuted",
    "Reduction",
    "ReferenceKL",
    "Reinforce",
    "ReversedOnAll",
    "ReversedOnCorrect",
    "Schedule",
    "SequenceMean",
    "SequenceSum",
    "Shifted",
    "SoftPenalty",
    "Surrogate",
    "TokenMean",
    "TopKRenormalized",
    "TopKTail",
    "TruncatedImportance",
    "Truncation",
    "TwoSided",
    "Weights",
    "ZeroReward",
]
