"""OPSD: on-policy self-distillation from the same model with privileged information (2601.18734)."""

from __future__ import annotations

from typing import Any

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.parts import Divergence, GeneralizedJSD
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


class OPSD(Objective):
    """min sum_t D(P_T(. | x, r), P_S(. | x)) over the full vocabulary, on the student's own samples; no reward at all.

    The student is pushed towards every preference of a teacher that has seen r, those that nobody without r can have
    included: accuracy rises first and then collapses into leakage (2604.03128, section 3 and Fig. 3). A completion
    without context is left out of the update, and of the count that the loss is divided by.

    Args:
        divergence: default the full reverse KL(S || T).
    """

    unused = ("advantage", "surrogate")

    def __init__(self, divergence: Divergence | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.divergence = divergence or GeneralizedJSD(beta=1.0)

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.DISTRIBUTION, divergence=self.divergence)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        has_context = present(batch.distillation, Signal.DISTRIBUTION).has_context
        learnt = batch.loss_mask & has_context[:, None]
        scale = self.distillation_scale
        return Credit(None, distribution_weights=scale * has_context.float(), loss_mask=learnt)


class OPSDSampled(Objective):
    """A_t = log P_T(y_t | x, r) - log P_S(y_t | x): OPSD's gradient on the sampled token alone; no reward.

    Its expected gradient is that of -KL(S || T). A completion without context is left out of the update, and of the
    count that the loss is divided by.
    """

    unused = ("advantage",)

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        teacher = present(batch.teacher, Signal.TEACHER)
        learnt = batch.loss_mask & teacher.has_context[:, None]
        delta = F.evidence_delta(teacher.logprobs, batch.rollout_logprobs)
        return Credit(self.distillation_scale * delta, loss_mask=learnt)
