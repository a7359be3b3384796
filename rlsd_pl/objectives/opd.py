"""OPD: on-policy distillation from an external teacher that sees what the student sees (GKD, 2306.13649)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.opsd import OPSD, OPSDSampled
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


class OPD(OPSD):
    """min sum_t D(P_T(. | x), P_S(. | x)) on the student's own samples, T another model of the same vocabulary.

    The loss is OPSD's; the teacher and the bare context make the difference, so nothing privileged can leak. Teacher =
    student is no signal at all.

    Args:
        divergence: default the full reverse KL(S || T); :class:`TopKTail` for the student's k likeliest tokens.
    """


class OPDSampled(OPSDSampled):
    """A_t = log P_T(y_t | x) - log P_S(y_t | x): OPD's reverse-KL gradient on the sampled token alone; no reward."""


class IWOPD(OPDSampled):
    """A_t = g_t Delta_t, Delta_t = sg(log P_T(y_t | x) - log P_S(y_t | x)), g_t = 1 + (max_weight - 1) (1 - F_t),
    F_t = sum_{s<t} |Delta_s| / sum_s |Delta_s|: early tokens count more, those behind much disagreement less.

    IW-OPD, 2606.22600, as in its official code; F runs over the whole completion. max_weight = 1 is OPD on the sampled
    token bit for bit.

    Args:
        max_weight: of the first token, 1 or more; 1.5 in the official script.
    """

    def __init__(self, max_weight: float = 1.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 1 <= max_weight < float("inf"):
            raise ValueError(f"Got objective.max_weight={max_weight}; expected a number >= 1 (the official code: 1.5).")
        self.max_weight = max_weight

    def weights(self, delta: Tensor, mask: Tensor) -> Tensor:
        """g [B, T], from evidence [B, T] in nats and the completion mask [B, T]."""
        distance = delta.abs().masked_fill(~mask, 0.0)
        total = distance.sum(dim=1, keepdim=True)
        before = distance.cumsum(dim=1) - distance
        share = before / total.masked_fill(total == 0, 1.0)
        return 1 + (self.max_weight - 1) * (1 - share).clamp(0, 1)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        delta = F.evidence_delta(present(batch.teacher, Signal.TEACHER).logprobs, batch.rollout_logprobs)
        weights = self.weights(delta, batch.completions.mask)
        mean = F.masked_mean(weights, batch.loss_mask).item()
        plain, traces = super().credit(batch, iteration), {"weight": weights}
        credit = weights * delta * self.distillation_scale
        return replace(plain, token_advantages=credit, metrics={"weight": mean}, traces=traces)
