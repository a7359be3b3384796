"""SDAR: the reward, and beside it distillation of the sampled token through a gate (2605.15155)."""

from __future__ import annotations

from typing import Any

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Objective
from rlsd_pl.types import Credit, RolloutBatch, Signal


class SDAR(Objective):
    """A_t = A + c sg(sigmoid(5 Delta_t)) Delta_t, Delta_t = sg(log P_T(y_t | x, r) - log P_S(y_t | x)).

    The gate lets the teacher's approval through and damps its disapproval. The sum can turn the sign of A, and is not 0
    where A is: unlike RLSD. Teacher = student is RLVR; a completion without context keeps A.

    Args:
        coefficient: c; 0 is RLVR.
        sharpness: of the gate, per nat.
    """

    signals = Signal.TEACHER_LOGPROBS

    def __init__(self, coefficient: float = 0.1, sharpness: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.coefficient, self.sharpness = coefficient, sharpness

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        """See :meth:`Objective.credit`."""
        assert batch.teacher_logprobs is not None
        delta = F.evidence_delta(batch.teacher_logprobs, batch.rollout_logprobs)
        gate = F.masked_mean(F.sdar_gate(delta, self.sharpness), batch.loss_mask)
        token_advantages = F.sdar_credit(batch.advantages, delta, self.coefficient, self.sharpness)
        return Credit(token_advantages, {"gate": gate.item()})
