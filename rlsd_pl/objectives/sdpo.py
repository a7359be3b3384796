"""SDPO: distillation from the policy's own average, shown a success or the verifier's feedback (2601.20802)."""

from __future__ import annotations

from typing import Any

from rlsd_pl.objectives.opsd import OPSD
from rlsd_pl.objectives.parts import Divergence, ImportanceCorrection, TopKTail, TruncatedImportance


class SDPO(OPSD):
    """min sum_t sg(min(pi / pi_rollout, 2)) D_alpha(P_T(. | x, r), P_S(. | x)) over the student's 100 likeliest tokens
    and one tail bucket; r is a successful sibling or the verifier's feedback; the teacher is an EMA of the policy.

    A completion with neither is left out of the update and of the count that the loss is divided by, as in the official
    code, and counted in ``rollout/no_context``. Rewards enter through the choice of r alone.

    Args:
        divergence: default :class:`TopKTail` with k = 100 and alpha = .5.
        importance: default :class:`TruncatedImportance` with cap 2.
    """

    def __init__(
        self, divergence: Divergence | None = None, importance: ImportanceCorrection | None = None, **kwargs: Any
    ) -> None:
        super().__init__(
            divergence or TopKTail(beta=0.5, k=100), importance=importance or TruncatedImportance(2.0), **kwargs
        )
