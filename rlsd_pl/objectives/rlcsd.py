"""RLCSD: a bounded bonus from the contrast of a right hint and several wrong ones (2606.11709)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.schedules import Constant, Schedule
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


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

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER | Signal.CONTRAST)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        teacher, contrast = present(batch.teacher, Signal.TEACHER), present(batch.contrast, Signal.CONTRAST)
        strength = self.strength(iteration)
        evidence = F.contrastive_evidence(teacher.logprobs, contrast.logprobs, contrast.exists)
        bonus = F.rlcsd_bonus(evidence, strength, self.temperature)
        token_advantages = F.rlcsd_credit(batch.advantages, bonus, self.threshold)
        contrasted = teacher.has_context & contrast.exists.any(dim=1)
        selected = F.rlcsd_selection(bonus, self.threshold)
        metrics = {
            "strength": strength,
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
