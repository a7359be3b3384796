"""RLSD without a teacher: what is left of a gain when the weight knows nothing but how likely a token was."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from rlsd_pl.objectives.base import Needs
from rlsd_pl.objectives.rlsd import RLSD
from rlsd_pl.types import RolloutBatch, Signal


class TeacherFreeRLSD(RLSD):
    """RLSD with Delta_t = -sg(log P_S(y_t | x)), the surprisal of the sampled token: no teacher, no further forward.

    Our own, a control: RLSD's Delta is log P_T more than this one, so what RLSD gains over it is what the teacher
    knows. Delta_t >= 0, so w_t >= 1 on right completions and w_t <= 1 on wrong ones: unlikely tokens gain where A > 0
    and are spared where A < 0. Needs no context; lambda = 0 is RLVR bit for bit.
    """

    @property
    def needs(self) -> Needs:
        needs = super().needs
        return replace(needs, signals=needs.signals & ~Signal.TEACHER)

    def evidence(self, batch: RolloutBatch) -> Tensor:
        return -batch.rollout_logprobs.detach()
