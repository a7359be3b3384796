"""Limits that mean nothing are refused when they are made."""

from __future__ import annotations

import math

import pytest

from rlsd_pl.verifiers.sandbox.limits import Limits
from rlsd_pl.verifiers.workers.process import WorkerLimits


@pytest.mark.parametrize("make", [Limits, WorkerLimits])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e30])
def test_a_limit_without_sense_is_refused(make, value):
    with pytest.raises(
        ValueError, match=rf"Got limits\.wall_seconds={value}; expected a number above 0".replace("+", r"\+")
    ):
        make(wall_seconds=value)


@pytest.mark.parametrize("make", [Limits, WorkerLimits])
def test_a_batch_may_be_without_limit(make):
    assert make(batch_seconds=math.inf).batch_seconds == math.inf
    with pytest.raises(ValueError, match="batch_seconds=nan"):
        make(batch_seconds=math.nan)
