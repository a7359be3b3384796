"""GRPO+OPSD: the reward and the distillation of OPSD side by side, the naive mixture (2604.03128, section 5)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlsd_pl.objectives.base import Needs
from rlsd_pl.objectives.parts import Constant, Divergence, GeneralizedJSD, Schedule
from rlsd_pl.objectives.parts.schedule import check_schedule
from rlsd_pl.objectives.rlvr import RLVR
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


class GRPOWithOPSD(RLVR):
    """A_t = A, plus lambda D(P_T(. | x, r), P_S(. | x)) over the vocabulary.

    lambda = 0 is RLVR; where all rewards of a group are equal only distillation is left. A completion without context
    keeps its reward term alone.

    Args:
        strength: schedule of the strength (lambda in the paper), the factor of the divergence; default constantly .1.
        divergence: default the full reverse KL(S || T).
    """

    def __init__(self, strength: Schedule | None = None, divergence: Divergence | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strength = strength or Constant(0.1)
        check_schedule(self.strength, "objective.strength")
        self.divergence = divergence or GeneralizedJSD(beta=1.0)

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.DISTRIBUTION, divergence=self.divergence)

    def distilled(self, batch: RolloutBatch) -> Tensor:
        """bool [B]: the completions that the divergence applies to."""
        return present(batch.distillation, Signal.DISTRIBUTION).has_context

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        strength = self.strength(iteration) * self.distillation_scale
        token_advantages = super().credit(batch, iteration).token_advantages
        return Credit(token_advantages, {"strength": strength}, strength * self.distilled(batch).float())
