"""Alarms: what counts as a check, when one is raised, and that they go on after a resume."""

from __future__ import annotations

import math

import pytest

from rlsd_pl.leakage import Above, Alarms, Below, Beyond, Falls, Rises


def raised(rule, values, key="k") -> list[int]:
    """The checks, from 0, at which the rule raises an alarm."""
    alarms = Alarms([rule])
    return [i for i, value in enumerate(values) if alarms.check({key: value})]


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (Above("k", 0.5, 1), [0.4, 0.5, 0.6, 0.4], [2]),
        (Above("k", 0.5, 2), [0.6, 0.4, 0.6, 0.6, 0.6, 0.6], [3, 5]),
        (Below("k", 0.5, 1), [0.4, 0.5, 0.6], [0]),
        (Beyond("k", 0.5, 1), [-0.6, 0.6, 0.5, -0.5], [0, 1]),
        (Rises("k", 0.5, 1), [1.0, 1.5, 1.6, 0.0], [2]),
        (Falls("k", 0.5, 1), [1.0, 0.5, 0.4, 1.6], [2]),
        (Above("k", 0.5, 2), [0.6, math.nan, 0.6], [2]),
    ],
)
def test_an_alarm_is_raised_when_a_rule_has_held_for_its_checks(rule, values, expected):
    assert raised(rule, values) == expected


def test_a_check_without_the_metric_is_none():
    alarms = Alarms([Above("k", 0.5, 2)])
    assert [bool(alarms.check(metrics)) for metrics in ({"k": 1.0}, {"other": 0.0}, {"k": 1.0})] == [False, False, True]
    assert [rule.key for rule in alarms.raised] == ["k"]


def test_rules_count_for_themselves():
    alarms = Alarms([Above("a", 0.5, 1), Rises("b", 0.5, 1), Above("b", 5.0, 1)])
    assert alarms.check({"a": 0.0, "b": 1.0}) == []
    assert alarms.check({"a": 1.0, "b": 2.0}) == [alarms.rules[0], alarms.rules[1]]


def test_a_resumed_run_goes_on_where_it_was_and_new_rules_begin_anew():
    before = Alarms([Rises("k", 0.5, 3)])
    for value in (1.0, 2.0, 2.0):
        before.check({"k": value})
    after = Alarms([Rises("k", 0.5, 3), Rises("k", 0.6, 3)])
    after.load_state_dict(before.state_dict())
    assert after.check({"k": 2.0}) == [after.rules[0]]


@pytest.mark.parametrize("wrong", [{"checks": 0}, {"limit": math.nan}, {"limit": math.inf}])
def test_a_rule_that_could_not_hold_or_would_always_is_refused(wrong):
    with pytest.raises(ValueError, match="finite limit and at least 1 check"):
        Above(**{"key": "k", "limit": 1.0, **wrong})
