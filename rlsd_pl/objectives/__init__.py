"""Objectives: one short class per method, under one interface, and the parts that they are composed of."""

from rlsd_pl.objectives.advantages import (
    AdvantageEstimator,
    BatchNormalized,
    GroupCentered,
    GroupNormalized,
    LeaveOneOut,
)
from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.cepo import CEPO
from rlsd_pl.objectives.divergences import Divergence, GeneralizedJSD, TopKRenormalized, TopKTail
from rlsd_pl.objectives.grpo_opsd import GRPOWithOPSD
from rlsd_pl.objectives.importance import ImportanceCorrection, TruncatedImportance
from rlsd_pl.objectives.opd import OPD, OPDSampled
from rlsd_pl.objectives.opsd import OPSD, OPSDSampled
from rlsd_pl.objectives.reductions import Reduction, SequenceMean, SequenceSum, TokenMean
from rlsd_pl.objectives.reference import K1, K2, K3, ReferenceKL
from rlsd_pl.objectives.rlcsd import RLCSD
from rlsd_pl.objectives.rlrt import RLRT
from rlsd_pl.objectives.rlsd import RLSD
from rlsd_pl.objectives.rlvr import RLVR
from rlsd_pl.objectives.schedules import Constant, CosineDecay, LinearDecay, Schedule
from rlsd_pl.objectives.sdar import SDAR
from rlsd_pl.objectives.sdpg import SDPG
from rlsd_pl.objectives.sdpo import SDPO
from rlsd_pl.objectives.sft import SFT
from rlsd_pl.objectives.surrogates import CISPO, GSPO, DualClip, PPOClip, Reinforce, Surrogate
from rlsd_pl.objectives.truncation import KeepReward, MaskTruncated, SoftPenalty, Truncation, ZeroReward
from rlsd_pl.objectives.weighting import (
    EvidenceWeighting,
    NegativeOnly,
    OneSided,
    ReversedOnAll,
    ReversedOnCorrect,
    TwoSided,
)

__all__ = [
    "CEPO",
    "CISPO",
    "GSPO",
    "K1",
    "K2",
    "K3",
    "OPD",
    "OPSD",
    "RLCSD",
    "RLRT",
    "RLSD",
    "RLVR",
    "SDAR",
    "SDPG",
    "SDPO",
    "SFT",
    "AdvantageEstimator",
    "BatchNormalized",
    "Constant",
    "CosineDecay",
    "Divergence",
    "DualClip",
    "EvidenceWeighting",
    "GRPOWithOPSD",
    "GeneralizedJSD",
    "GroupCentered",
    "GroupNormalized",
    "ImportanceCorrection",
    "KeepReward",
    "LeaveOneOut",
    "LinearDecay",
    "MaskTruncated",
    "Needs",
    "NegativeOnly",
    "OPDSampled",
    "OPSDSampled",
    "Objective",
    "OneSided",
    "PPOClip",
    "Reduction",
    "ReferenceKL",
    "Reinforce",
    "ReversedOnAll",
    "ReversedOnCorrect",
    "Schedule",
    "SequenceMean",
    "SequenceSum",
    "SoftPenalty",
    "Surrogate",
    "TokenMean",
    "TopKRenormalized",
    "TopKTail",
    "TruncatedImportance",
    "Truncation",
    "TwoSided",
    "ZeroReward",
]
