"""Objectives: one short class per method, under one interface."""

from rlsd_pl.objectives.base import Objective
from rlsd_pl.objectives.opsd import OPSD, OPSDSampled
from rlsd_pl.objectives.rlsd import RLSD
from rlsd_pl.objectives.rlvr import RLVR

__all__ = ["OPSD", "RLSD", "RLVR", "OPSDSampled", "Objective"]
