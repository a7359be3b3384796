"""pass@k, t-intervals, and groups that teach nothing."""

from __future__ import annotations

import itertools
import math
import statistics

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


# Two-sided quantiles from the printed tables of Student's t, three decimals.
T_TABLE = {
    0.95: {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 10: 2.228, 30: 2.042, 100: 1.984},
    0.99: {1: 63.657, 2: 9.925, 4: 4.604, 9: 3.250, 30: 2.750},
    0.5: {1: 1.000, 2: 0.816, 9: 0.703},
}


@pytest.mark.parametrize("confidence", T_TABLE)
def test_t_quantiles_match_the_printed_table(confidence: float):
    for degrees_of_freedom, quantile in T_TABLE[confidence].items():
        assert F.student_t_quantile(confidence, degrees_of_freedom) == pytest.approx(quantile, abs=6e-4)


def test_t_quantile_approaches_the_normal_one():
    normal = statistics.NormalDist().inv_cdf(0.975)
    assert F.student_t_quantile(0.95, 20_000) == pytest.approx(normal, abs=2e-4)


def test_mean_interval_of_five_seeds():
    values = [0.91, 0.88, 0.95, 0.90, 0.93]
    mean, half_width = F.mean_interval(torch.tensor(values, dtype=torch.float64))
    assert mean == pytest.approx(statistics.fmean(values))
    assert half_width == pytest.approx(2.776445 * statistics.stdev(values) / math.sqrt(5), rel=1e-6)


def test_mean_interval_of_one_value_has_no_width():
    mean, half_width = F.mean_interval(torch.tensor([3.0]))
    assert mean == 3.0
    assert math.isnan(half_width)


def test_mean_interval_covers_as_often_as_it_says():
    samples = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covered = sum(abs(interval.mean) <= interval.half_width for interval in map(F.mean_interval, samples))
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("sample", [torch.zeros(0), torch.zeros(2, 2)])
def test_mean_interval_refuses_other_shapes(sample: torch.Tensor):
    with pytest.raises(ValueError, match=r"expected \[n\]"):
        F.mean_interval(sample)


@pytest.mark.parametrize(("confidence", "degrees_of_freedom"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_t_quantile_refuses_what_has_none(confidence: float, degrees_of_freedom: int):
    with pytest.raises(ValueError, match="at least 1"):
        F.student_t_quantile(confidence, degrees_of_freedom)


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
