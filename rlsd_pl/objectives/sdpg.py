"""SDPG: the reward, distillation on what turned out well, and a KL to the initial policy (2606.04036)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlsd_pl.objectives.grpo_opsd import GRPOWithOPSD
from rlsd_pl.objectives.parts import K2, Constant, Divergence, ReferenceKL, Schedule
from rlsd_pl.types import RolloutBatch


class SDPG(GRPOWithOPSD):
    """A_t = A, plus beta KL(P_S || sg P_T) over the vocabulary where A > 0, plus a KL to the initial policy.

    A completion with A <= 0 or without context keeps its reward term and the penalty.

    Args:
        strength: schedule of the strength (beta in the paper), the factor of the divergence; default constantly 1e-3 as
            in the official script. The paper lets it rise at the start and fall at the end: :class:`LinearDecay` with
            ``warmup`` and ``hold``.
        divergence: default the full reverse KL(S || T).
        reference_kl: default :class:`K2` with coefficient 1e-3, the official script's URKL.
    """

    def __init__(
        self,
        strength: Schedule | None = None,
        divergence: Divergence | None = None,
        reference_kl: ReferenceKL | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(strength or Constant(1e-3), divergence, reference_kl=reference_kl or K2(), **kwargs)

    def distilled(self, batch: RolloutBatch) -> Tensor:
        return super().distilled(batch) & (batch.advantages > 0)
