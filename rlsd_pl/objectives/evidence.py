"""What the methods share that weigh tokens by evidence: whose it is, and which tokens may have it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.parts import EvidencePlacement
from rlsd_pl.patterns import TextPattern
from rlsd_pl.types import RolloutBatch, Signal, present


class EvidenceObjective(Objective):
    """A method whose token credit is made of the evidence Delta_t = sg(log P_T(y_t | x, r) - log P_S(y_t | x)).

    Delta is taken at rollout time, so that credit is a fixed property of a rollout.

    Args:
        span: regular expression; only tokens of its matches (of its first group, if it has one) are weighted by
            evidence, the others keep A. ``(?s)<think>(.*)</think>`` keeps style at the end out of it.
        placement: a control that moves the evidence to other tokens of its completion; ``None`` leaves it in its place.
    """

    def __init__(self, span: str | None = None, placement: EvidencePlacement | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span = None if span is None else TextPattern(span, "objective.span")
        self.placement = placement

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER, span=self.span)

    def evidence(self, batch: RolloutBatch) -> Tensor:
        """Delta [B, T] in nats, detached; 0 where there is nothing to go by."""
        return F.evidence_delta(present(batch.teacher, Signal.TEACHER).logprobs, batch.rollout_logprobs)

    def placed_evidence(self, batch: RolloutBatch, iteration: int) -> Tensor:
        """Delta [B, T], 0 outside of the span, where the placement puts it."""
        delta, mask = self.evidence(batch), batch.loss_mask
        if batch.span is not None:
            delta, mask = delta.masked_fill(~batch.span, 0.0), mask & batch.span
        return delta if self.placement is None else self.placement(delta, batch.completions.ids, mask, iteration)

    def span_metrics(self, batch: RolloutBatch) -> dict[str, float]:
        """The share of tokens that evidence may weight, where a span says which."""
        return {} if batch.span is None else {"span": F.masked_mean(batch.span.float(), batch.loss_mask).item()}
