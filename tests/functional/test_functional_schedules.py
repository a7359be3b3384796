"""Schedules of the credit strength."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl import functional as F

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
DECAYS = pytest.mark.parametrize("decay", [F.linear_decay, F.cosine_decay], ids=lambda f: f.__name__)


def test_the_schedule_of_the_rlsd_paper():
    values = [F.linear_decay(i, 0.5, 0.0, 50) for i in range(60)]
    assert values[0] == 0.5
    assert values[1] == pytest.approx(0.49)
    assert values[25] == pytest.approx(0.25)
    assert values[49] == pytest.approx(0.01)
    assert values[50:] == [0.0] * 10


def test_cosine_matches_its_formula():
    for i in range(11):
        expected = 0.1 + 0.8 * (1 + math.cos(math.pi * i / 10)) / 2
        assert F.cosine_decay(i, 0.9, 0.1, 10) == pytest.approx(expected)


@DECAYS
def test_warmup_hold_and_decay_follow_each_other(decay):
    values = [decay(i, 0.8, 0.2, 4, warmup_iterations=4, hold_iterations=3) for i in range(14)]
    assert values[:4] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert values[4:8] == pytest.approx([0.8] * 4)
    assert values[9] == pytest.approx(0.5)
    assert values[11:] == pytest.approx([0.2] * 3)


def test_constant_after_its_warmup():
    assert [F.constant(i, 0.3) for i in range(3)] == [0.3] * 3
    assert [F.constant(i, 0.3, 3) for i in range(5)] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3])


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
    value = decay(iteration, initial, final, length, warmup, hold)
    assert -1e-12 <= value <= max(initial, final) + 1e-12
    if iteration >= warmup:
        assert value >= min(initial, final) - 1e-12
    if iteration >= warmup + hold + length:
        assert value == pytest.approx(final)


def test_bad_arguments_say_what_to_set():
    with pytest.raises(ValueError, match="iterations count from 0"):
        F.constant(-1, 0.5)
    with pytest.raises(ValueError, match="for no decay use constant"):
        F.linear_decay(0, 0.5, 0.0, 0)
