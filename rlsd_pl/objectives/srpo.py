"""SRPO: the reward where a completion is right, distillation from a success where it is wrong (2604.02288)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlsd_pl.collectives import global_means
from rlsd_pl.objectives.base import Needs
from rlsd_pl.objectives.parts import Divergence, TopKTail
from rlsd_pl.objectives.rlvr import RLVR
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


class SRPO(RLVR):
    """z = (1 - correct) has_context. Where z = 0, A_t = A; where z = 1, min omega_t D_alpha(P_T(. | x, r), P_S(. | x))
    over the student's 100 likeliest tokens and one tail bucket, omega_t = exp(-beta H(P_T)) divided by its mean over
    the tokens with z = 1. All tokens are in one count.

    r is what SDPO shows: a successful sibling or the verifier's feedback. Tokens on which the teacher is unsure count
    less. Without any context this is RLVR; a completion that is right, or has nothing to learn from, keeps its reward
    term. The mean is taken over the rollout of all processes. Written from the paper's public description.

    Args:
        beta: per nat of the teacher's entropy H; 0 weighs all tokens alike.
        correct_reward: the least reward of a correct completion.
        divergence: default :class:`TopKTail` with k = 100 and alpha = .5, SDPO's.
    """

    def __init__(
        self, beta: float = 1.0, correct_reward: float = 1.0, divergence: Divergence | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= beta < float("inf"):
            raise ValueError(f"Got objective.beta={beta}; expected a number >= 0 (the paper: 1).")
        self.beta, self.correct_reward = beta, correct_reward
        self.divergence = divergence or TopKTail(beta=0.5, k=100)

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.TEACHER | Signal.DISTRIBUTION, divergence=self.divergence)

    def weights(self, entropy: Tensor, mask: Tensor) -> Tensor:
        """omega [B, T], from the teacher's entropy [B, T] in nats and the tokens that are distilled, bool [B, T]."""
        certainty = torch.exp(-self.beta * entropy)
        means = global_means({"certainty": (float(certainty[mask].sum()), float(mask.sum()))})
        return certainty / (means.get("certainty") or 1.0)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        teacher = present(batch.teacher, Signal.TEACHER)
        distilled = teacher.has_context & (batch.rewards < self.correct_reward)
        column = distilled[:, None]
        omega = self.weights(present(teacher.entropy, Signal.TEACHER), batch.loss_mask & column)
        rewarded = batch.advantages[:, None] * (~column).expand_as(batch.rollout_logprobs)
        metrics = {"distilled": distilled.float().mean().item()}
        weights = self.distillation_scale * (omega * column)
        return Credit(rewarded, metrics, distribution_weights=weights, traces={"weight": omega})
