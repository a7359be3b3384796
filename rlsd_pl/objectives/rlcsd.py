"""RLCSD: a bounded bonus from the contrast of a right hint and several wrong ones (2606.11709)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Objective
from rlsd_pl.objectives.schedules import Constant, Schedule
from rlsd_pl.types import Credit, RolloutBatch, Signal


class RLCSD(Objective):
    """e_t = log P_T(y_t | x, c+) - log mean_k P_T(y_t | x, w_k), c+ a right and w_k up to 4 wrong siblings;
    rho_t = lambda tanh(e_t / tau); tokens with |rho_t| > delta get A + rho_t, cut at 0 to keep the sign of A, the
    others A.

    The surrogate is a mean over the other tokens plus eta times a mean over the selected ones. The two means are taken
    over this process's rollout, as factors on the token advantages, so the reduction has to be :class:`TokenMean`.
    A completion that lacks a right or a wrong sibling is left out of the update, as in the official code, and counted
    in ``credit/left_out``.

    Args:
        strength: schedule of beta times lambda, the bound of the bonus; default constantly .5.
        temperature: tau, in nats.
        threshold: delta.
        selected_weight: eta.
    """

    signals = Signal.TEACHER_LOGPROBS | Signal.CONTRAST_LOGPROBS

    def __init__(
        self,
        strength: Schedule | None = None,
        temperature: float = 0.02,
        threshold: float = 0.02,
        selected_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.strength = strength or Constant(0.5)
        self.temperature, self.threshold, self.selected_weight = temperature, threshold, selected_weight

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        """See :meth:`Objective.credit`."""
        assert batch.teacher_logprobs is not None
        assert batch.has_context is not None
        assert batch.contrast_logprobs is not None
        assert batch.contrast_mask is not None
        strength = self.strength(iteration)
        evidence = F.contrastive_evidence(batch.teacher_logprobs, batch.contrast_logprobs, batch.contrast_mask)
        bonus = F.rlcsd_bonus(evidence, strength, self.temperature)
        token_advantages = F.rlcsd_credit(batch.advantages, bonus, self.threshold)
        contrasted = batch.has_context & batch.contrast_mask.any(dim=1)
        selected = F.rlcsd_selection(bonus, self.threshold)
        metrics = {
            "lambda": strength,
            "selected": F.masked_mean(selected.float(), batch.loss_mask & contrasted[:, None]).item(),
            "left_out": 1 - contrasted.float().mean().item(),
        }
        return Credit(token_advantages * self._balance(selected, contrasted[:, None], batch.loss_mask), metrics)

    def _balance(self, selected: Tensor, contrasted: Tensor, mask: Tensor) -> Tensor:
        """[B, T] factors that turn one mean over all tokens into the sum of two means, and leave the rest out."""
        factors = torch.zeros(mask.shape)
        for kind, weight in ((selected, self.selected_weight), (~selected, 1.0)):
            members = kind & contrasted & mask
            factors[members] = weight * mask.sum() / members.sum().clamp(min=1)
        return factors
