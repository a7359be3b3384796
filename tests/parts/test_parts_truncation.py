"""What a completion without EOS is worth, against values written out."""

from __future__ import annotations

import pytest
import torch

from rlsd_pl.objectives.parts import KeepReward, MaskTruncated, SoftPenalty, Truncation, ZeroReward

REWARDS, TRUNCATED = torch.tensor([1.0, 0.5, 1.0, 0.0]), torch.tensor([False, False, True, True])
LENGTHS = torch.tensor([3, 8, 10, 10])
CASES: dict[Truncation, tuple[list[float], list[bool]]] = {
    ZeroReward(): ([1.0, 0.5, 0.0, 0.0], [True] * 4),
    KeepReward(): ([1.0, 0.5, 1.0, 0.0], [True] * 4),
    MaskTruncated(): ([1.0, 0.5, 1.0, 0.0], [True, True, False, False]),
    SoftPenalty(buffer=4): ([1.0, 0.0, 0.0, -1.0], [True] * 4),
}


@pytest.mark.parametrize("policy", CASES, ids=lambda part: type(part).__name__)
def test_rewards_and_what_is_learnt_from(policy: Truncation):
    rewards, learnt = policy(REWARDS, TRUNCATED, LENGTHS, 10)
    assert rewards.tolist() == CASES[policy][0]
    assert learnt.tolist() == CASES[policy][1]
    assert learnt.dtype == torch.bool
    assert REWARDS.tolist() == [1.0, 0.5, 1.0, 0.0], "the input is left as it was"


def test_the_soft_penalty_is_linear_over_its_buffer():
    lengths = torch.tensor([5, 6, 7, 8, 9, 10])
    penalised, _ = SoftPenalty(buffer=4)(torch.zeros(6), torch.zeros(6, dtype=torch.bool), lengths, 10)
    assert penalised.tolist() == [0.0, 0.0, -0.25, -0.5, -0.75, -1.0]


@pytest.mark.parametrize("buffer", [0, 11])
def test_a_buffer_beyond_the_limit_is_refused(buffer: int):
    with pytest.raises(ValueError, match=r"buffer=.* expected 1 to 10"):
        SoftPenalty(buffer)(REWARDS, TRUNCATED, LENGTHS, 10)
