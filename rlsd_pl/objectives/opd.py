"""OPD: on-policy distillation from an external teacher that sees what the student sees (GKD, 2306.13649)."""

from __future__ import annotations

from rlsd_pl.objectives.opsd import OPSD, OPSDSampled


class OPD(OPSD):
    """min sum_t D(P_T(. | x), P_S(. | x)) on the student's own samples, T another model of the same vocabulary.

    The loss is OPSD's; the teacher and the bare context make the difference, so nothing privileged can leak. Teacher =
    student is no signal at all.

    Args:
        divergence: default the full reverse KL(S || T); :class:`TopKTail` for the student's k likeliest tokens.
    """


class OPDSampled(OPSDSampled):
    """A_t = log P_T(y_t | x) - log P_S(y_t | x): OPD's reverse-KL gradient on the sampled token alone; no reward."""
