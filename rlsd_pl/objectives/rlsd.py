"""RLSD: the verifier decides the direction of each token's update, the self-teacher its magnitude (2604.03128)."""

from __future__ import annotations

from typing import Any

from rlsd_pl import functional as F
from rlsd_pl.objectives.evidence import EvidenceObjective
from rlsd_pl.objectives.parts import EvidenceWeighting, LinearDecay, Schedule, TwoSided
from rlsd_pl.objectives.parts.schedule import check_schedule
from rlsd_pl.types import Credit, RolloutBatch


class RLSD(EvidenceObjective):
    """A_t = A [(1 - lambda) + lambda clip(w_t, 1 - epsilon_w, 1 + epsilon_w)], w_t = exp(sign(A) Delta_t),
    Delta_t = sg(log P_T(y_t | x, r) - log P_S(y_t | x)). Algorithm 1 of the paper, two-sided clip.

    lambda = 0 is RLVR bit for bit, and so is a teacher that agrees with the student. Degenerates to RLVR where the
    context tells the teacher nothing; a completion without context keeps A.

    Args:
        epsilon_w: half-width of the clip on the evidence weight; at 1 or above the lower side is open.
        strength: schedule of the strength (lambda in the paper); default .5 to 0 over 50 iterations, as in the paper.
        weighting: how evidence becomes a weight; default :class:`TwoSided`.
        span, placement: see :class:`EvidenceObjective`.
    """

    def __init__(
        self,
        epsilon_w: float = 0.2,
        strength: Schedule | None = None,
        weighting: EvidenceWeighting | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if epsilon_w < 0:
            raise ValueError(f"Got objective.epsilon_w={epsilon_w}; expected a number >= 0 (the paper: 0.2).")
        self.epsilon_w = epsilon_w
        self.strength = strength or LinearDecay()
        check_schedule(self.strength, "objective.strength", most=1.0)
        self.weighting = weighting or TwoSided()

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        strength = self.strength(iteration) * self.distillation_scale
        delta = self.placed_evidence(batch, iteration)
        weights, clipped = self.weighting(batch.advantages, delta, strength, self.epsilon_w)
        clip_fraction = F.masked_mean(clipped.float(), batch.loss_mask).item()
        metrics = {"strength": strength, "clip_fraction": clip_fraction, **self.span_metrics(batch)}
        unblended = self.weighting(batch.advantages, delta, 1.0, self.epsilon_w).weights
        traces = {"evidence": delta, "weight": unblended}
        return Credit(batch.advantages[:, None] * weights, metrics, traces=traces)
