"""Schedules of the credit strength."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl.objectives import CEPO, RLCSD, RLRT, RLSD, SDPG, GRPOWithOPSD
from rlsd_pl.objectives.parts import Constant, CosineDecay, LinearDecay

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
DECAYS = pytest.mark.parametrize("decay", [LinearDecay, CosineDecay])


def test_the_schedule_of_the_rlsd_paper():
    values = [LinearDecay(0.5, 0.0, 50)(i) for i in range(60)]
    assert values[0] == 0.5
    assert values[1] == pytest.approx(0.49)
    assert values[25] == pytest.approx(0.25)
    assert values[49] == pytest.approx(0.01)
    assert values[50:] == [0.0] * 10


def test_cosine_matches_its_formula():
    for i in range(11):
        expected = 0.1 + 0.8 * (1 + math.cos(math.pi * i / 10)) / 2
        assert CosineDecay(0.9, 0.1, 10)(i) == pytest.approx(expected)


@DECAYS
def test_warmup_hold_and_decay_follow_each_other(decay):
    values = [decay(0.8, 0.2, 4, warmup=4, hold=3)(i) for i in range(14)]
    assert values[:4] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert values[4:8] == pytest.approx([0.8] * 4)
    assert values[9] == pytest.approx(0.5)
    assert values[11:] == pytest.approx([0.2] * 3)


def test_constant_after_its_warmup():
    assert [Constant(0.3)(i) for i in range(3)] == [0.3] * 3
    assert [Constant(0.3, 3)(i) for i in range(5)] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3])


@DECAYS
@PROPERTY
@given(
    iteration=st.integers(0, 200),
    initial=st.floats(0, 1),
    final=st.floats(0, 1),
    phases=st.tuples(st.integers(1, 60), st.integers(0, 20), st.integers(0, 20)),
)
def test_values_stay_between_the_ends(decay, iteration: int, initial: float, final: float, phases):
    length, warmup, hold = phases
    value = decay(initial, final, length, warmup, hold)(iteration)
    assert -1e-12 <= value <= max(initial, final) + 1e-12
    if iteration >= warmup:
        assert value >= min(initial, final) - 1e-12
    if iteration >= warmup + hold + length:
        assert value == pytest.approx(final)


def test_bad_arguments_say_what_to_set():
    with pytest.raises(ValueError, match="iterations count from 0"):
        Constant(0.5)(-1)
    for decay in (LinearDecay, CosineDecay):
        with pytest.raises(ValueError, match=r"iterations is 0.* for no decay use Constant"):
            decay(0.5, 0.0, 0)


def test_the_defaults_are_those_of_the_rlsd_paper():
    assert LinearDecay() == LinearDecay(initial=0.5, final=0.0, iterations=50, warmup=0, hold=0)


def test_cosine_values_written_out():
    cosine = CosineDecay(initial=1.0, final=0.0, iterations=4, warmup=2, hold=1)
    assert [round(cosine(i), 4) for i in range(9)] == [0.0, 0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: RLSD(strength=Constant(1.5)), r"which is 1\.5 in iteration 0; expected values from 0 to 1"),
        (lambda: RLSD(strength=LinearDecay(0.5, -0.1, 10)), r"in iteration 9; expected values from 0 to 1"),
        (lambda: CEPO(strength=Constant(0.5, warmup=-1)), None),
        (lambda: RLRT(strength=Constant(float("nan"))), "which is nan in iteration 0"),
        (lambda: GRPOWithOPSD(Constant(-1.0)), "expected finite values of at least 0"),
        (lambda: RLCSD(Constant(float("inf"))), "expected finite values of at least 0"),
        (lambda: SDPG(Constant(2.0)), None),
    ],
)
def test_a_schedule_that_leaves_its_range_is_refused_when_the_objective_is_made(make, reason):
    if reason is None:
        make()
        return
    with pytest.raises(ValueError, match=reason):
        make()
