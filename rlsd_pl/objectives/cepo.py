"""CEPO: evidence as a contrast of the right answer and a sibling's wrong one (2605.19436)."""

from __future__ import annotations

from typing import Any

from rlsd_pl.objectives.contrast import ContrastRLSD
from rlsd_pl.objectives.parts import LinearDecay, Schedule


class CEPO(ContrastRLSD):
    """RLSD with Delta_t = sg(log P_T(y_t | x, r+) - log P_T(y_t | x, r-)); r- is the answer of a rejected sibling.

    What any hint does to style cancels. A completion without a rejected sibling has Delta = 0 and keeps A, so a batch
    without any is RLVR. Equal contexts degenerate to RLVR too.

    Args:
        epsilon_w: half-width of the clip; .5 in the official code.
        strength: schedule of the strength (lambda in the paper); default .5 to 0 over 25 iterations, likewise.
    """

    def __init__(self, epsilon_w: float = 0.5, strength: Schedule | None = None, **kwargs: Any) -> None:
        super().__init__(epsilon_w, strength or LinearDecay(0.5, iterations=25), **kwargs)
