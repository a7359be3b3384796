"""Credit only where evidence speaks for it: a method of our own."""

from __future__ import annotations

from typing import Any

from rlsd_pl import functional as F
from rlsd_pl.objectives.evidence import EvidenceObjective
from rlsd_pl.objectives.parts import EvidenceGate
from rlsd_pl.types import Credit, RolloutBatch


class EvidenceGated(EvidenceObjective):
    """A_t = A (floor + 1 - exp(-relu(sign(A) Delta_t))), Delta_t = sg(log P_T(y_t | x, r) - log P_S(y_t | x)).

    Our own, of no paper. RLSD keeps A on tokens without evidence; here they, and those whose evidence speaks against
    the update, have floor A, and the others up to (floor + 1) A. The sign is that of A. A teacher that agrees with the
    student, and a completion without context, have floor A: RLVR at floor 1, nothing at floor 0.

    Args:
        floor: 0 or more.
        span: see :class:`EvidenceObjective`; tokens outside of it have floor A.
        placement: see :class:`EvidenceObjective`.
    """

    def __init__(self, floor: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate = EvidenceGate(floor)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        delta = self.placed_evidence(batch, iteration)
        factors = self.gate(batch.advantages, delta * self.distillation_scale)
        metrics = {"gate": F.masked_mean(factors, batch.loss_mask).item(), **self.span_metrics(batch)}
        traces = {"evidence": delta, "weight": factors}
        return Credit(batch.advantages[:, None] * factors, metrics, traces=traces)
