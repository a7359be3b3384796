"""RLRT: on correct completions, credit goes to what the teacher would *not* have said (2605.10781)."""

from __future__ import annotations

from typing import Any

from rlsd_pl.objectives.parts import Constant, EvidenceWeighting, ReversedOnCorrect, Schedule
from rlsd_pl.objectives.rlsd import RLSD


class RLRT(RLSD):
    """RLSD with the ratio reversed, w_t = exp(sign(A) (log P_S - log P_T)), where A > 0; the others keep A.

    A token on which student and teacher agree has w = 1, so a teacher without privileged text degenerates to RLVR; a
    completion without context keeps A.

    Args:
        epsilon_w: half-width of the clip; 1 as in the public code, which leaves the lower side open.
        strength: schedule of the strength (lambda in RLSD); default constantly .5.
        weighting: :class:`ReversedOnCorrect`, or :class:`ReversedOnAll` for the paper's variant RLRT-All.
    """

    def __init__(
        self,
        epsilon_w: float = 1.0,
        strength: Schedule | None = None,
        weighting: EvidenceWeighting | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon_w, strength or Constant(0.5), weighting or ReversedOnCorrect(), **kwargs)
