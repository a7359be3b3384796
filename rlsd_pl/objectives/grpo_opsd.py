"""GRPO+OPSD: the reward and the distillation of OPSD side by side, the naive mixture (2604.03128, section 5)."""

from __future__ import annotations

from typing import Any

from rlsd_pl.objectives.divergences import Divergence, GeneralizedJSD
from rlsd_pl.objectives.rlvr import RLVR
from rlsd_pl.types import Signal


class GRPOWithOPSD(RLVR):
    """A_t = A, plus lambda D(P_T(. | x, r), P_S(. | x)) over the vocabulary.

    lambda (the divergence's weight) = 0 is RLVR; where all rewards of a group are equal only distillation is left. A
    completion without context keeps its reward term alone.

    Args:
        divergence: default the full reverse KL(S || T) with weight .1.
    """

    signals = Signal.TEACHER_DISTRIBUTION

    def __init__(self, divergence: Divergence | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.divergence = divergence or GeneralizedJSD(beta=1.0, weight=0.1)
