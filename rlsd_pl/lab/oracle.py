"""Credit that knows which tokens decide, which only the lab can give: the ceiling of what credit can do there."""

from __future__ import annotations

from typing import Any

import torch

from rlsd_pl import functional as F
from rlsd_pl.objectives import Needs, Objective
from rlsd_pl.types import Credit, RolloutBatch


class OracleCredit(Objective):
    """A_t = A on the tokens that decide, floor A on all others. These are, where A > 0, the true result digits of
    misconceived facts, and where A < 0, the false result digits of whatever fact.

    Our own, for measuring: no method can know these tokens from a reward. floor = 1 is RLVR bit for bit; 0 is taken as
    the ceiling, and learns nothing from a completion without such tokens. The reduction counts all tokens, as RLVR's.

    Args:
        floor: in [0, 1].
    """

    def __init__(self, floor: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= floor <= 1:
            raise ValueError(f"Got objective.floor={floor}; expected a number in [0, 1] (1: RLVR, 0: the ceiling).")
        self.floor = floor

    @property
    def needs(self) -> Needs:
        return super().needs.plus(verdict_spans=("decisive", "false"))

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        decides = F.deciding_tokens(batch.advantages, batch.marked("decisive"), batch.marked("false"))
        factor = torch.full_like(batch.rollout_logprobs, self.floor).masked_fill(decides, 1.0)
        share = F.masked_mean(decides.float(), batch.loss_mask)
        return Credit(batch.advantages[:, None] * factor, {"decisive": share.item()})
