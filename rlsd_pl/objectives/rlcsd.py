"""RLCSD: a bounded bonus from the contrast of a right hint and several wrong ones (2606.11709)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.collectives import global_means
from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.contrast import contrast
from rlsd_pl.objectives.parts import Constant, PPOClip, Schedule, Surrogate, TokenMean
from rlsd_pl.objectives.parts.schedule import check_schedule
from rlsd_pl.types import Credit, RolloutBatch, Signal


class RLCSD(Objective):
    """e_t = log P_T(y_t | x, c+) - log mean_k P_T(y_t | x, w_k), c+ a right and w_k up to 4 wrong siblings;
    rho_t = lambda tanh(e_t / tau); tokens with |rho_t| > delta get A + rho_t, cut at 0 to keep the sign of A, the
    others A.

    The surrogate is a mean over the other tokens plus eta times a mean over the selected ones. The two means are taken
    over the rollout of all processes, as factors on the token advantages, so the reduction has to be
    :class:`TokenMean`.
    A completion that lacks a right or a wrong sibling is left out of the update, as in the official code, and counted
    in ``credit/left_out``.

    Args:
        strength: schedule of the strength (beta times lambda in the paper), the bound of the bonus; default constantly
            .5.
        temperature: tau, in nats.
        threshold: delta.
        selected_weight: eta.
        surrogate: default :class:`PPOClip` (.2, .2), as in the official code.

    Raises:
        ValueError: for a temperature that is not above 0, or another reduction.
    """

    def __init__(
        self,
        strength: Schedule | None = None,
        temperature: float = 0.02,
        threshold: float = 0.02,
        selected_weight: float = 1.0,
        surrogate: Surrogate | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(surrogate=surrogate or PPOClip(0.2, 0.2), **kwargs)
        self.strength = strength or Constant(0.5)
        check_schedule(self.strength, "objective.strength")
        if not 0 < temperature < math.inf:
            raise ValueError(f"Got objective.temperature={temperature}; expected a number above 0 (the paper: .02).")
        if not isinstance(self.reduction, TokenMean):
            name = type(self.reduction).__name__
            raise ValueError(f"Got objective.reduction={name}; RLCSD's two means over tokens need TokenMean.")
        self.temperature, self.threshold, self.selected_weight = temperature, threshold, selected_weight

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER | Signal.CONTRAST)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        strength = self.strength(iteration) * self.distillation_scale
        evidence, contrasted = contrast(batch)
        learnt = batch.loss_mask & contrasted[:, None]
        bonus = self.bonus(evidence, strength)
        selected = self.selected(bonus)
        token_advantages = torch.where(selected, self.moved(batch.advantages, bonus), batch.advantages[:, None])
        metrics = {
            "strength": strength,
            "selected": F.masked_mean(selected.float(), learnt).item(),
            "left_out": 1 - contrasted.float().mean().item(),
        }
        balanced = token_advantages * self._balance(selected, learnt)
        return Credit(balanced, metrics, loss_mask=learnt, traces={"evidence": evidence})

    def bonus(self, evidence: Tensor, strength: float) -> Tensor:
        """``rho_t = strength * tanh(e_t / tau)`` [B, T], of the evidence [B, T] in nats."""
        return strength * torch.tanh(evidence / self.temperature)

    def selected(self, bonus: Tensor) -> Tensor:
        """``|rho_t| > delta``, bool [B, T]; a NaN is selected, so that it reaches the loss and is seen."""
        return ~(bonus.abs() <= self.threshold)

    def moved(self, advantages: Tensor, bonus: Tensor) -> Tensor:
        """``A + rho_t`` [B, T] of A [B] and rho [B, T], cut at 0 where it would turn the sign of A; 0 where A is 0."""
        sign = advantages.sign()[:, None]
        return sign * (advantages.abs()[:, None] + sign * bonus).clamp(min=0)

    def _balance(self, selected: Tensor, learnt: Tensor) -> Tensor:
        """[B, T] factors that turn one mean over the tokens of ``learnt`` [B, T] into the sum of two means."""
        tokens, chosen = int(learnt.sum()), int((selected & learnt).sum())
        shares = global_means({"selected": (chosen, tokens), "others": (tokens - chosen, tokens)})
        factors = torch.zeros(learnt.shape)
        for kind, name, weight in ((selected, "selected", self.selected_weight), (~selected, "others", 1.0)):
            if share := shares.get(name):
                factors[kind & learnt] = weight / share
        return factors
