"""Statistics over seeds: against loops over plain floats, scipy's own tests, printed tables and written-out numbers."""

from __future__ import annotations

import doctest
import importlib
import math
import statistics
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, ttest_1samp, ttest_rel

from rlsd_pl import comparison as C
from tests.mutations import Mutant, survivors

MODULES = ("ceiling", "curves", "seeds")

finite = st.floats(-10, 10, allow_subnormal=False).map(lambda x: round(x, 3))
samples = st.lists(finite, min_size=2, max_size=7)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name: str):
    module = importlib.import_module(f"rlsd_pl.comparison.{name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert (result.failed, result.attempted > 0) == (0, True)


# --- one method ------------------------------------------------------------------------------------------------------

# Two-sided quantiles from the printed tables of Student's t by degrees of freedom, three decimals.
T_TABLE = {
    0.95: {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 10: 2.228, 30: 2.042, 100: 1.984},
    0.99: {1: 63.657, 2: 9.925, 4: 4.604, 9: 3.250, 30: 2.750},
    0.5: {1: 1.000, 2: 0.816, 9: 0.703},
}


@pytest.mark.parametrize("confidence", T_TABLE)
def test_t_quantiles_match_the_printed_table(confidence: float):
    for degrees_of_freedom, quantile in T_TABLE[confidence].items():
        assert C.t_quantile(confidence, degrees_of_freedom + 1) == pytest.approx(quantile, abs=6e-4)


@pytest.mark.parametrize(("confidence", "n"), [(0.0, 3), (1.0, 3), (0.95, 1)])
def test_t_quantile_refuses_what_has_none(confidence: float, n: int):
    with pytest.raises(ValueError, match="at least 2"):
        C.t_quantile(confidence, n)


def test_mean_interval_of_five_seeds():
    values = [0.91, 0.88, 0.95, 0.90, 0.93]
    mean, half_width = C.mean_interval(values)
    assert mean == pytest.approx(statistics.fmean(values))
    assert half_width == pytest.approx(2.776445 * statistics.stdev(values) / math.sqrt(5), rel=1e-6)


def test_mean_interval_of_one_value_has_no_width():
    mean, half_width = C.mean_interval([3.0])
    assert (mean, math.isnan(half_width)) == (3.0, True)


def test_mean_interval_covers_as_often_as_it_says():
    drawn = np.random.default_rng(0).normal(size=(1000, 4))
    covered = sum(abs(interval.mean) <= interval.half_width for interval in map(C.mean_interval, drawn))
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("sample", [[], [[1.0, 2.0]]])
def test_mean_interval_refuses_other_shapes(sample: list):
    with pytest.raises(ValueError, match=r"expected \[n\]"):
        C.mean_interval(sample)


@given(st.lists(finite, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_iqm_is_the_mean_of_the_middle(values: list[float]):
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    assert C.interquartile_mean(values) == pytest.approx(sum(middle) / len(middle), abs=1e-9)


# --- two methods -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_paired_difference_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]):
    method, baseline = ({seed: pair[i] for seed, pair in enumerate(pairs)} for i in (0, 1))
    differences = [a - b for a, b in pairs]
    if statistics.pstdev(differences) < 1e-6:
        return
    found = C.paired_difference({**method, 99: 5.0}, {**baseline, 98: -5.0})  # seeds of one side alone play no part
    expected = ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (expected.low, expected.high), rel=1e-6, abs=1e-9
    )
    assert found.seeds == len(pairs)


def test_pairing_takes_out_what_seeds_share():
    baseline = {0: 0.50, 1: 0.60, 2: 0.90}
    method = {0: 0.53, 1: 0.64, 2: 0.94}
    assert C.paired_difference(method, baseline) == pytest.approx((0.11 / 3, 4.302653 * 0.01 / 3, 3), rel=1e-5)
    assert C.mean_interval(list(method.values())).half_width > 0.5


def test_without_a_common_seed_there_is_no_difference():
    found = C.paired_difference({0: 1.0}, {1: 1.0})
    assert (math.isnan(found.mean), found.seeds) == (True, 0)


@given(samples, samples)
@settings(max_examples=40, deadline=None)
def test_probability_of_improvement_counts_pairs(method: list[float], baseline: list[float]):
    wins = sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in method for y in baseline)
    found = C.probability_of_improvement(method, baseline)
    assert found == pytest.approx(wins / len(method) / len(baseline))
    u = mannwhitneyu(method, baseline).statistic
    assert found == pytest.approx(u / len(method) / len(baseline))
    assert found + C.probability_of_improvement(baseline, method) == pytest.approx(1.0)


def test_compare_puts_everything_beside_the_baseline():
    values = {"rlvr": {0: 0.5, 1: 0.7}, "rlsd": {1: 0.8, 2: 0.4}, "late": {}, "other": {5: 1.0}}
    rlvr, rlsd, late, other = C.compare(values, "rlvr")
    assert (rlvr.mean, rlvr.n, rlvr.common_seeds) == (pytest.approx(0.6), 2, 0)
    assert math.isnan(rlvr.difference)
    assert (rlsd.difference, rlsd.common_seeds, rlsd.probability) == (pytest.approx(0.1), 1, 0.5)
    assert math.isnan(rlsd.difference_half_width)
    assert (late.n, math.isnan(late.mean)) == (0, True)
    assert (other.common_seeds, math.isnan(other.difference), other.probability) == (0, True, 1.0)
    assert all(math.isnan(found.difference) for found in C.compare(values, None))


def test_bootstrap_band_of_three_curves():
    """Of n = 3, the mean of a resample is the lowest value with probability 1 / 27 > .025: the band is the envelope."""
    curves = np.array([[0.0, 1.0, 0.3], [0.0, 2.0, 0.1], [0.0, 6.0, 0.2]])
    low, high = C.bootstrap_band(curves)
    assert low.tolist() == pytest.approx([0.0, 1.0, 0.1])
    assert high.tolist() == pytest.approx([0.0, 6.0, 0.3])
    assert [bound.tolist() for bound in C.bootstrap_band(curves)] == [low.tolist(), high.tolist()]


def test_bootstrap_band_of_many_curves_is_that_of_the_mean():
    curves = np.random.default_rng(1).normal(size=(400, 2))
    low, high = C.bootstrap_band(curves)
    spread = 1.96 * curves.std(axis=0) / 20
    assert low.tolist() == pytest.approx((curves.mean(axis=0) - spread).tolist(), abs=0.02)
    assert high.tolist() == pytest.approx((curves.mean(axis=0) + spread).tolist(), abs=0.02)


# --- curves ----------------------------------------------------------------------------------------------------------

curves = st.lists(st.tuples(st.integers(1, 9), finite), min_size=2, max_size=8)


@given(curves)
@settings(max_examples=40, deadline=None)
def test_area_is_the_mean_height(steps: list[tuple[int, float]]):
    x = [sum(step for step, _ in steps[: i + 1]) for i in range(len(steps))]
    y = [value for _, value in steps]
    area = 0.0
    for i in range(1, len(x)):
        area += (x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2
    assert C.area_under_curve(x, y) == pytest.approx(area / (x[-1] - x[0]), abs=1e-9)


@pytest.mark.parametrize(("x", "y"), [([1], [1.0]), ([1, 1], [0.0, 1.0]), ([1, 2], [1.0])])
def test_area_refuses_what_is_no_curve(x: list[int], y: list[float]):
    with pytest.raises(ValueError, match="increasing iterations"):
        C.area_under_curve(x, y)


@given(st.lists(finite, min_size=1, max_size=9), st.sampled_from([1, 3, 5]))
@settings(max_examples=40, deadline=None)
def test_smoothing_averages_as_many_points_on_both_sides(values: list[float], window: int):
    expected = []
    for i in range(len(values)):
        reach = window // 2
        while i - reach < 0 or i + reach > len(values) - 1:
            reach -= 1
        near = values[i - reach : i + reach + 1]
        expected.append(sum(near) / len(near))
    assert C.smoothed(values, window).tolist() == pytest.approx(expected, abs=1e-9)


def test_smoothing_refuses_an_even_window():
    with pytest.raises(ValueError, match="odd"):
        C.smoothed([1.0], 2)


@given(st.floats(0.01, 0.99), st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_a_straight_line_reaches_its_target_where_it_should(target: float, points: int):
    x = [10 * i for i in range(points)]
    found = C.iterations_to_target(x, [value / x[-1] for value in x], target, window=3)
    assert found.iteration == pytest.approx(target * x[-1], rel=1e-6)
    assert found.reached


def test_a_single_lucky_evaluation_does_not_reach_the_target():
    x, y = [0, 10, 20, 30, 40], [0.5, 0.5, 0.8, 0.5, 0.6]
    assert C.iterations_to_target(x, y, 0.75) == (40, False)
    assert C.iterations_to_target(x, y, 0.75, window=1) == (pytest.approx(10 + 10 * 0.25 / 0.3), True)
    assert C.iterations_to_target(x, y, 0.4) == (0, True)


def reached(*iterations: float) -> dict[int, C.Crossing]:
    return {seed: C.Crossing(x, True) for seed, x in enumerate(iterations)}


def test_ratios_are_geometric_means_over_common_seeds():
    found = C.iteration_ratio(reached(10, 40), reached(40, 40, 7))
    assert found[:1] + found[3:] == (pytest.approx(2.0), "=", 2)
    half_width = 12.7062 * math.log(2)  # the logs are log 4 and 0: their standard error is log 2
    assert (found.low, found.high) == pytest.approx((2 * math.exp(-half_width), 2 * math.exp(half_width)), rel=1e-4)


def test_censored_runs_make_bounds_and_not_figures():
    method, baseline = reached(20, 20), reached(40, 40)
    late = {**reached(20, 20), 1: C.Crossing(80, False)}
    assert C.iteration_ratio(late, baseline)[:1] + C.iteration_ratio(late, baseline)[3:] == (pytest.approx(1), "<=", 2)
    assert C.iteration_ratio(method, late)[3] == ">="
    assert C.iteration_ratio(late, late)[3] == "?"
    assert math.isnan(C.iteration_ratio(late, baseline).low)
    assert C.iteration_ratio(reached(0, 20), baseline).relation == "?"  # there before it was trained
    assert C.iteration_ratio({5: C.Crossing(1, True)}, baseline)[3:] == ("?", 0)


# --- the ceiling -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(finite, finite, finite), min_size=3, max_size=6))
@settings(max_examples=30, deadline=None)
def test_fieller_is_the_set_of_shares_that_a_t_test_does_not_refuse(rows: list[tuple[float, float, float]]):
    method, baseline, ceiling = ({seed: row[i] for seed, row in enumerate(rows)} for i in range(3))
    found = C.share_of_ceiling(method, baseline, ceiling)
    room = [c - b for _, b, c in rows]
    if statistics.pstdev(room) < 1e-3:
        return
    without_zero = ttest_1samp(room, 0.0).pvalue < 0.05 and statistics.fmean(room) > 0
    assert math.isnan(found.share) == (not without_zero)
    if not without_zero or found.high - found.low < 1e-6:
        return
    assert found.low <= found.share <= found.high
    margin = 0.01 * (found.high - found.low)
    for share, inside in ((found.low + margin, True), (found.low - margin, False),
                          (found.high - margin, True), (found.high + margin, False)):  # fmt: skip
        differences = [m - b - share * (c - b) for m, b, c in rows]
        assert (ttest_1samp(differences, 0.0).pvalue > 0.05) == inside


def test_the_ceiling_has_all_of_itself_and_the_baseline_none():
    baseline, ceiling = {0: 0.5, 1: 0.6, 2: 0.55}, {0: 0.8, 1: 0.95, 2: 0.9}
    assert C.share_of_ceiling(ceiling, baseline, ceiling) == (1.0, pytest.approx(1), pytest.approx(1), 3, "")
    assert C.share_of_ceiling(baseline, baseline, ceiling) == (0.0, pytest.approx(0), pytest.approx(0), 3, "")


@pytest.mark.parametrize(
    ("ceiling", "reason"),
    [
        ({0: 0.9, 1: 0.3, 2: 0.8}, "may be 0"),
        ({0: 0.2, 1: 0.3, 2: 0.25}, "below the baseline"),
        ({0: 0.9}, "two common seeds"),
    ],
)
def test_without_room_the_share_is_undefined_and_says_why(ceiling: dict[int, float], reason: str):
    found = C.share_of_ceiling({0: 0.6, 1: 0.7, 2: 0.65}, {0: 0.5, 1: 0.6, 2: 0.55}, ceiling)
    assert math.isnan(found.share)
    assert math.isnan(found.low)
    assert reason in found.reason


def test_fieller_covers_as_often_as_it_says():
    """A share of .3 of a room of .2, with the noise of a seed that the three runs share and noise of their own."""
    rng = np.random.default_rng(3)
    covered = defined = 0
    for _ in range(400):
        seed, own = rng.normal(0, 0.05, 5), rng.normal(0, 0.03, (3, 5))
        by_seed = [dict(enumerate(height + seed + noise)) for height, noise in zip((0.56, 0.5, 0.7), own, strict=True)]
        found = C.share_of_ceiling(*by_seed)
        defined += not found.reason
        covered += found.low <= 0.3 <= found.high
    assert defined > 390
    assert covered / defined == pytest.approx(0.95, abs=0.03)


# --- would these checks notice? --------------------------------------------------------------------------------------


def check(m: ModuleType) -> None:
    """Written-out numbers for whichever module this is."""
    if hasattr(m, "compare"):
        assert m.mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 4.302653 / math.sqrt(3)), rel=1e-6)
        assert m.paired_difference({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0, 2: 9.0})[0] == 2
        assert m.probability_of_improvement([1.0, 2.0], [1.0, 0.0]) == 0.875
        assert m.interquartile_mean([0, 0, 0, 4, 90, 90, 90, 90]) == 46
        # Tens among five draws: binomial (5, .2), of which .942 lies below 3 and .993 below 4.
        assert m.bootstrap_band(np.array([[0.0]] * 4 + [[10.0]]))[1].tolist() == [6]
    elif hasattr(m, "smoothed"):
        assert m.area_under_curve([0, 1, 5], [0.0, 1.0, 2.0]) == pytest.approx(6.5 / 5)
        assert m.smoothed([0.0, 3.0, 3.0, 9.0]).tolist() == [0, 2, 5, 9]
        assert m.iterations_to_target([0, 10, 20], [0.0, 0.5, 1.0], 0.625) == (12.5, True)
        assert m.iterations_to_target([3, 5], [0.0, 0.5], 1.0) == (5, False)
        assert m.iteration_ratio(reached(10), reached(40))[0] == pytest.approx(4)
        assert m.iteration_ratio({0: C.Crossing(10, False)}, reached(40)).relation == "<="
    else:
        found = m.share_of_ceiling({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}, {0: 9.5, 1: 10.5})
        # Of the gain mean 2 and variance 2, of the room 10 and .5, covariance 1; t^2 / n on one degree of freedom.
        t2 = 12.706205**2 / 2
        a, b, c = 100 - 0.5 * t2, 20 - 1.0 * t2, 4 - 2.0 * t2
        root = math.sqrt(b * b - a * c)
        assert found[:4] == pytest.approx((0.2, (b - root) / a, (b + root) / a, 2), rel=1e-5)


EDITS = [
    ("seeds", "t_quantile(confidence, values.size)", "t_quantile(confidence, values.size + 1)"),
    ("seeds", "(1 + confidence) / 2", "confidence"),
    ("seeds", "n - 1))", "n))"),
    ("seeds", "method[s] - baseline[s]", "baseline[s] - method[s]"),
    ("seeds", "(np.sign(difference) + 1) / 2", "(difference > 0)"),
    ("seeds", "np.float64), 0.25)", "np.float64), 0.1)"),
    ("seeds", ",), np.mean", ",), np.min"),
    ("curves", "/ (x[-1] - x[0])", "/ len(x)"),
    ("curves", "min(window // 2, i, len(y) - 1 - i)", "min(window // 2, i)"),
    ("curves", "y >= target", "y > target + 1"),
    ("curves", "x[first - 1] + share", "x[first] + share"),
    ("curves", "float(x[-1]), False", "float(x[0]), False"),
    ("curves", "baseline[s].iteration / method[s].iteration", "method[s].iteration / baseline[s].iteration"),
    ("curves", '"<=" if late else ">="', '">=" if late else "<="'),
    ("ceiling", "/ len(seeds)\n", "\n"),
    ("ceiling", "- v_both", "+ v_both"),
    ("ceiling", "- v_room", "- v_gain"),
    ("ceiling", "b * b - a * c", "b * b + a * c"),
]


def test_every_wrong_formula_is_noticed():
    mutants = [Mutant(f"comparison/{module}", original, mutated) for module, original, mutated in EDITS]
    for module in MODULES:
        check(importlib.import_module(f"rlsd_pl.comparison.{module}"))
    assert survivors(mutants, lambda _: check) == []
