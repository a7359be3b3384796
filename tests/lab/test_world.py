import random

import pytest

from rlsd_pl.lab.world import FACTS, ChainWorld, fact_result, is_held_out, running_values


@pytest.mark.parametrize(
    ("expression", "values"),
    [("3+4*2", [7, 4]), ("3-4", [9]), ("0-1*9+9", [9, 1, 0]), ("9*9*9", [1, 9]), ("2+3*4", [5, 0])],
)
def test_running_values_go_left_to_right_modulo_ten(expression, values):
    assert running_values(expression) == values


@pytest.mark.parametrize("expression", ["", "3", "3+", "3++4", "12+3", "3+4\n", "3/4", "٣+4", "3+4=7"])
def test_anything_but_a_chain_is_refused(expression):
    with pytest.raises(ValueError, match="expected digits joined by"):
        running_values(expression)


def test_there_are_300_facts_with_results_in_range():
    assert len(set(FACTS)) == 300
    assert {fact_result(fact) for fact in FACTS} == set(range(10))


def test_misconceptions_are_wrong_and_fixed_by_the_seed():
    wrong_results = ChainWorld(misconceptions=36).wrong_results
    assert len(wrong_results) == 36
    assert all(0 <= result <= 9 and result != fact_result(fact) for fact, result in wrong_results.items())
    assert wrong_results == ChainWorld(misconceptions=36).wrong_results
    assert wrong_results != ChainWorld(misconceptions=36, seed=1).wrong_results


def test_the_shipped_base_stands_on_these_misconceptions():
    """A change here would silently part the base from its world."""
    wrong_results = ChainWorld().wrong_results
    assert list(wrong_results)[:6] == ["0-3", "1*1", "1-5", "1-7", "2*9", "2+4"]
    assert list(wrong_results.values())[:6] == [4, 0, 5, 2, 2, 1]


def test_about_one_expression_in_sixteen_is_held_out():
    rng = random.Random(0)
    held_out = sum(is_held_out(ChainWorld().sample_expression(rng)) for _ in range(8000))
    assert abs(held_out / 8000 - 1 / 16) < 0.01


@pytest.mark.parametrize("arguments", [{"operands": 1}, {"misconceptions": -1}, {"misconceptions": 301}])
def test_impossible_worlds_are_refused(arguments):
    with pytest.raises(ValueError, match=f"got {next(iter(arguments))}="):
        ChainWorld(**arguments)


def test_another_mix_of_operators_keeps_the_facts():
    shifted = ChainWorld(operators="**-")
    assert shifted.wrong_results == ChainWorld().wrong_results
    drawn = "".join(shifted.sample_expression(random.Random(i)) for i in range(300))
    counts = {operator: drawn.count(operator) for operator in "+-*"}
    assert counts["+"] == 0
    assert counts["*"] / counts["-"] == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("operators", ["", "/", "+x"])
def test_operators_are_those_of_the_world(operators):
    with pytest.raises(ValueError, match="expected one or more of"):
        ChainWorld(operators=operators)
