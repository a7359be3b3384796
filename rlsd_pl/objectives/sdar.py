"""SDAR: the reward, and beside it distillation of the sampled token through a gate (2605.15155)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Needs
from rlsd_pl.objectives.rlvr import RLVR
from rlsd_pl.types import Credit, RolloutBatch, Signal, TokenLoss, TokenScores, present


class SDAR(RLVR):
    """A_t = A, plus c sg(sigmoid(5 Delta_t)) (sg log P_T(y_t | x, r) - log P_S(y_t | x)) in the loss.

    The gradient of the term is that of an advantage of c sigmoid(5 Delta_t): every sampled token is raised, those that
    the teacher finds less likely than the student by less. So the sign of A is not kept, and a teacher that agrees with
    the student adds c / 2 to every advantage, which vanishes in expectation and not in a sample. A completion without
    context keeps its reward term alone.

    Args:
        coefficient: c; 0 is RLVR.
        sharpness: of the gate, per nat.
    """

    def __init__(self, coefficient: float = 0.01, sharpness: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.coefficient, self.sharpness = coefficient, sharpness

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER)

    def gate(self, delta: Tensor) -> Tensor:
        """``sg(sigmoid(sharpness * Delta_t))`` [B, T], in (0, 1), of the evidence [B, T] in nats."""
        return torch.sigmoid(self.sharpness * delta.detach())

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        teacher = present(batch.teacher, Signal.TEACHER)
        gate = self.gate(F.evidence_delta(teacher.logprobs, batch.rollout_logprobs))
        mean = F.masked_mean(gate, batch.loss_mask & teacher.has_context[:, None])
        return replace(super().credit(batch, iteration), metrics={"gate": mean.item()}, traces={"weight": gate})

    def loss(self, batch: RolloutBatch, scores: TokenScores) -> TokenLoss:
        teacher = present(batch.teacher, Signal.TEACHER)
        rewarded = super().loss(batch, scores)
        delta = teacher.logprobs.detach() - scores.logprobs
        distilled = self.coefficient * self.gate(delta) * delta * self.distillation_scale
        diagnostics = dict(rewarded.diagnostics)
        distilled = self._corrected(distilled, batch, scores, diagnostics)
        loss = rewarded.loss + distilled.masked_fill(~teacher.has_context[:, None], 0.0)
        return TokenLoss(loss, diagnostics)
