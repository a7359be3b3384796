"""SFT: cross-entropy on reference solutions, the off-policy baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rlsd_pl.objectives.base import Needs, Objective
from rlsd_pl.objectives.parts import Reinforce, Surrogate
from rlsd_pl.types import Credit, RolloutBatch


class SFT(Objective):
    """min -sum_t log P_S(y*_t | x) on a reference solution y*; static distillation where another model wrote it.

    One demonstration per problem takes the place of the group; rewards are logged and play no part. A problem without
    any of the fields is an error. A demonstration beyond the token limit is cut.

    Args:
        fields: keys into ``Problem.privileged``; the first that a problem has is y*.
        surrogate: default :class:`Reinforce`, which with A = 1 is cross-entropy.
    """

    unused = ("advantage",)

    def __init__(
        self, fields: Sequence[str] = ("demonstration", "solution"), surrogate: Surrogate | None = None, **kwargs: Any
    ) -> None:
        super().__init__(surrogate=surrogate or Reinforce(), **kwargs)
        if not fields:
            raise ValueError("Got objective.fields=[]; expected at least one key into Problem.privileged.")
        self.fields = tuple(fields)

    @property
    def needs(self) -> Needs:
        return super().needs.plus(demonstrations=self.fields)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        """A = 1 for every token, [B, T]."""
        return Credit(torch.ones_like(batch.rollout_logprobs))
