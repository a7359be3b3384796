"""Group advantages against loops over plain floats."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl.objectives import parts

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
Groups = list[list[float | None]]
"""Rewards of each group; ``None`` where the verifier failed."""


def loop_advantages(groups: Groups, formula: Callable[[float, list[float], list[float]], float]) -> list[list[float]]:
    batch = [reward for group in groups for reward in group if reward is not None]
    result: list[list[float]] = []
    for group in groups:
        valid = [reward for reward in group if reward is not None]
        silent = len(set(valid)) < 2
        result.append([0.0 if silent or reward is None else formula(reward, valid, batch) for reward in group])
    return result


def leave_one_out(reward: float, valid: list[float], _: list[float]) -> float:
    others = list(valid)
    others.remove(reward)
    return reward - statistics.fmean(others)


CASES = {
    parts.GroupNormalized(): lambda r, g, _: (r - statistics.fmean(g)) / (statistics.stdev(g) + 1e-6),
    parts.GroupCentered(): lambda r, g, _: r - statistics.fmean(g),
    parts.LeaveOneOut(): leave_one_out,
    parts.BatchNormalized(): lambda r, g, b: (r - statistics.fmean(g)) / (statistics.stdev(b) + 1e-6),
}
EVERY = pytest.mark.parametrize("advantages", CASES, ids=lambda part: type(part).__name__)

rewards_or_failed = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 1.0]), st.floats(-3, 3, width=32))
groups_of_four = st.lists(st.lists(rewards_or_failed, min_size=4, max_size=4), min_size=1, max_size=5)


def tensors(groups: Groups) -> tuple[Tensor, Tensor]:
    rewards = torch.tensor([[math.nan if r is None else r for r in group] for group in groups], dtype=torch.float64)
    return rewards, ~rewards.isnan()


@EVERY
@PROPERTY
@given(groups=groups_of_four)
def test_matches_the_loop(advantages: Callable[..., Tensor], groups: Groups):
    expected = torch.tensor(loop_advantages(groups, CASES[advantages]), dtype=torch.float64)
    torch.testing.assert_close(advantages(*tensors(groups)), expected, rtol=1e-9, atol=1e-9)


@EVERY
@PROPERTY
@given(reward=st.floats(-1e3, 1e3, width=32), size=st.integers(1, 9))
def test_a_constant_group_is_exactly_zero(advantages: Callable[..., Tensor], reward: float, size: int):
    groups = torch.full((2, size), reward)
    groups[1] = torch.arange(size)
    assert advantages(groups)[0].tolist() == [0.0] * size


@EVERY
def test_fewer_than_two_valid_samples_give_zero(advantages: Callable[..., Tensor]):
    rewards = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    valid = torch.tensor([[True, False, False], [False, False, False]])
    assert advantages(rewards, valid).tolist() == [[0.0] * 3] * 2


@EVERY
def test_a_failed_verifier_moves_nobody_else(advantages: Callable[..., Tensor]):
    rewards = torch.tensor([[1.0, 0.0, 0.5, 0.0]])
    valid = torch.tensor([[True, True, True, False]])
    without = advantages(rewards[:, :3])
    for garbage in (0.0, 1.0, math.nan, math.inf):
        rewards[0, 3] = garbage
        result = advantages(rewards, valid)
        torch.testing.assert_close(result[:, :3], without)
        assert result[0, 3].item() == 0.0


@EVERY
def test_a_nan_reward_that_counts_is_not_hidden(advantages: Callable[..., Tensor]):
    assert advantages(torch.tensor([[1.0, math.nan, 0.0]])).isnan().all()


@EVERY
@PROPERTY
@given(groups=groups_of_four, seed=st.integers(0, 1000))
def test_permuting_samples_and_groups_permutes_the_advantages(
    advantages: Callable[..., Tensor], groups: Groups, seed: int
):
    rewards, valid = tensors(groups)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(len(rewards), generator=generator), torch.randperm(4, generator=generator)
    shuffled = advantages(rewards[rows][:, columns], valid[rows][:, columns])
    torch.testing.assert_close(shuffled, advantages(rewards, valid)[rows][:, columns])


@EVERY
def test_dtype_and_sign_are_kept(advantages: Callable[..., Tensor]):
    for dtype in (torch.float32, torch.float64):
        result = advantages(torch.tensor([[1.0, 0.0, 0.0]], dtype=dtype))
        assert result.dtype == dtype
        assert (result > 0).tolist() == [[True, False, False]]
