"""RLSD: the verifier decides the direction of each token's update, the self-teacher its magnitude (2604.03128)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.parts import EvidenceWeighting, LinearDecay, Schedule, TwoSided
from rlsd_pl.objectives.parts.schedule import check_schedule
from rlsd_pl.patterns import TextPattern
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


class RLSD(Objective):
    """A_t = A [(1 - lambda) + lambda clip(w_t, 1 - epsilon_w, 1 + epsilon_w)], w_t = exp(sign(A) Delta_t),
    Delta_t = sg(log P_T(y_t | x, r) - log P_S(y_t | x)). Algorithm 1 of the paper, two-sided clip.

    Delta is taken at rollout time, so that credit is a fixed property of a rollout. lambda = 0 is RLVR bit for bit, and
    so is a teacher that agrees with the student. Degenerates to RLVR where the context tells the teacher nothing; a
    completion without context keeps A.

    Args:
        epsilon_w: half-width of the clip on the evidence weight; at 1 or above the lower side is open.
        strength: schedule of the strength (lambda in the paper); default .5 to 0 over 50 iterations, as in the paper.
        weighting: how evidence becomes a weight; default :class:`TwoSided`.
        span: regular expression; only tokens of its matches (of its first group, if it has one) are weighted by
            evidence, the others keep A. ``(?s)<think>(.*)</think>`` keeps style at the end out of it.
    """

    def __init__(
        self,
        epsilon_w: float = 0.2,
        strength: Schedule | None = None,
        weighting: EvidenceWeighting | None = None,
        span: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if epsilon_w < 0:
            raise ValueError(f"Got objective.epsilon_w={epsilon_w}; expected a number >= 0 (the paper: 0.2).")
        self.epsilon_w = epsilon_w
        self.strength = strength or LinearDecay()
        check_schedule(self.strength, "objective.strength", most=1.0)
        self.weighting = weighting or TwoSided()
        self.span = None if span is None else TextPattern(span, "objective.span")

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER, span=self.span)

    def evidence(self, batch: RolloutBatch) -> Tensor:
        """Delta [B, T] in nats, detached; 0 where there is nothing to go by."""
        return F.evidence_delta(present(batch.teacher, Signal.TEACHER).logprobs, batch.rollout_logprobs)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        strength, delta = self.strength(iteration), self.evidence(batch)
        metrics = {"strength": strength}
        if batch.span is not None:
            delta = delta.masked_fill(~batch.span, 0.0)
            metrics["span"] = F.masked_mean(batch.span.float(), batch.loss_mask).item()
        weights, clipped = self.weighting(batch.advantages, delta, strength, self.epsilon_w)
        metrics["clip_fraction"] = F.masked_mean(clipped.float(), batch.loss_mask).item()
        return Credit(batch.advantages[:, None] * weights, metrics)
