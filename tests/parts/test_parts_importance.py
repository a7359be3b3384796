"""Truncated importance weights against the loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl.objectives.parts import TruncatedImportance

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)


@PROPERTY
@given(seed=st.integers(0, 10_000), cap=st.floats(0.1, 10))
def test_matches_the_loop(seed: int, cap: float):
    generator = torch.Generator().manual_seed(seed)
    policy, rollout = -3 * torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)
    weights = TruncatedImportance(cap)(policy.requires_grad_(), rollout)
    expected = [
        [min(math.exp(p - r), cap) for p, r in zip(ps, rs, strict=True)]
        for ps, rs in zip(policy.tolist(), rollout.tolist(), strict=True)
    ]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))
    assert not weights.requires_grad


def test_a_huge_ratio_does_not_overflow():
    assert TruncatedImportance()(torch.tensor([[0.0]]), torch.tensor([[-1e6]])).item() == pytest.approx(2.0)


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_a_cap_without_sense_is_refused(cap: float):
    with pytest.raises(ValueError, match=r"cap is .* set 2.0"):
        TruncatedImportance(cap)
