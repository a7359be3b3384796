"""RLVR: one reward for the whole trace (GRPO, 2402.03300)."""

from __future__ import annotations

from rlsd_pl.objectives.base import Objective
from rlsd_pl.types import Credit, RolloutBatch


class RLVR(Objective):
    """A_t = A: every token of a completion gets its group advantage.

    Degenerates where all rewards of a group are equal: A = 0 and the group teaches nothing.
    """

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        return Credit(batch.advantages[:, None].expand_as(batch.rollout_logprobs).contiguous())
