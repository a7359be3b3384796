"""SDPG: the reward, distillation on what turned out well, and a leash to the initial policy (2606.04036)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlsd_pl.objectives.divergences import Divergence
from rlsd_pl.objectives.grpo_opsd import GRPOWithOPSD
from rlsd_pl.objectives.reference import K3, ReferenceKL
from rlsd_pl.objectives.schedules import Schedule
from rlsd_pl.types import RolloutBatch


class SDPG(GRPOWithOPSD):
    """A_t = A, plus beta KL(P_S || sg P_T) over the vocabulary where A > 0, plus a KL to the initial policy.

    A completion with A <= 0 or without context keeps its reward term and the leash.

    Args:
        strength: schedule of beta; default constantly .1.
        divergence: default the full reverse KL(S || T).
        reference_kl: default :class:`K3` with coefficient 1e-3.
    """

    def __init__(
        self,
        strength: Schedule | None = None,
        divergence: Divergence | None = None,
        reference_kl: ReferenceKL | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(strength, divergence, reference_kl=reference_kl or K3(), **kwargs)

    def distilled(self, batch: RolloutBatch) -> Tensor:
        """See :meth:`GRPOWithOPSD.distilled`."""
        return super().distilled(batch) & (batch.advantages > 0)
