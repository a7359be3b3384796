"""pass@k, Wilson's interval, and groups that teach nothing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from rlsd_pl import functional as F


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_draws_with_a_correct_one(n: int):
    for k in range(1, n + 1):
        correct = torch.arange(n + 1)
        estimate = F.pass_at_k(torch.full((n + 1,), n), correct, k)
        for c in range(n + 1):
            draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert estimate[c].item() == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_takes_other_sample_counts_per_problem_and_large_ones():
    samples, correct = torch.tensor([10, 200, 2000]), torch.tensor([3, 0, 1])
    estimate = F.pass_at_k(samples, correct, 10)
    exact = [
        1 - math.comb(n - c, 10) / math.comb(n, 10) for n, c in zip(samples.tolist(), correct.tolist(), strict=True)
    ]
    assert estimate.tolist() == pytest.approx(exact, abs=1e-10)
    assert estimate[1].item() == 0.0


@pytest.mark.parametrize(("samples", "correct", "k"), [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1)])
def test_pass_at_k_refuses_impossible_counts(samples: int, correct: int, k: int):
    with pytest.raises(ValueError, match=r"samples|counts"):
        F.pass_at_k(torch.tensor([samples]), torch.tensor([correct]), k)


# 95 % bounds: the roots b of (share - b)^2 = z^2 b (1 - b) / n, worked out apart.
WILSON = {
    (0, 10): (0.0, 0.277533),
    (10, 10): (0.722467, 1.0),
    (3, 10): (0.107791, 0.603222),
    (81, 263): (0.255289, 0.366210),
}


@pytest.mark.parametrize(("seen", "n"), WILSON)
def test_wilson_bounds(seen: int, n: int):
    assert F.wilson_interval(seen / n, n) == pytest.approx(WILSON[seen, n], abs=1e-6)


def test_wilson_bounds_are_where_the_score_test_just_accepts():
    for share, n in [(0.2, 15), (0.55, 40), (0.01, 300)]:
        for bound in F.wilson_interval(share, n, 0.9):
            assert abs(share - bound) / math.sqrt(bound * (1 - bound) / n) == pytest.approx(1.644854, rel=1e-5)


@pytest.mark.parametrize(("share", "n", "confidence"), [(1.1, 3, 0.95), (-0.1, 3, 0.95), (0.5, 0, 0.95), (0.5, 3, 1.0)])
def test_wilson_bounds_are_refused_for_what_is_no_share(share: float, n: float, confidence: float):
    with pytest.raises(ValueError, match="expected"):
        F.wilson_interval(share, n, confidence)


def test_zero_variance_groups():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, math.nan]])
    valid = torch.tensor([[True, True], [True, True], [True, False], [True, True]])
    assert F.zero_variance_groups(rewards, valid).tolist() == [True, False, True, False]
    assert F.zero_variance_groups(rewards[:2]).tolist() == [True, False]
    assert F.zero_variance_groups(rewards[3:], torch.tensor([[True, False]])).tolist() == [True]
