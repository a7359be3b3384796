import random
from math import sqrt

import pytest

from rlsd_pl.lab import ChainTask, ChainWorld, Demonstrator
from rlsd_pl.lab.demonstrator import FILLER_SYMBOLS
from rlsd_pl.lab.verifier import find_steps, yields_answer
from rlsd_pl.lab.world import fact_result

COUNT = 4000


@pytest.fixture(scope="module")
def demonstrations():
    task, demonstrator = ChainTask(), Demonstrator()
    return [demonstrator.demonstrate(task.problem("train", i).prompt, random.Random(i)) for i in range(COUNT)]


def assert_rate(outcomes, expected):
    """Within four standard deviations of a binomial."""
    bound = 4 * sqrt(expected * (1 - expected) / len(outcomes))
    assert abs(sum(outcomes) / len(outcomes) - expected) < bound


def test_misconceptions_and_slips_come_at_their_rates(demonstrations):
    wrong_results = ChainWorld().wrong_results
    steps = [step for demonstration in demonstrations for step in find_steps(demonstration.completion)]
    misconceived = [step for step in steps if step.fact in wrong_results]
    assert_rate([not step.is_true for step in misconceived], 0.7)
    assert_rate([not step.is_true for step in steps if step.fact not in wrong_results], 0.01)
    assert all(step.is_true or step.result == wrong_results[step.fact] for step in misconceived)


def test_hints_and_skipped_reasoning_come_at_their_shares(demonstrations):
    hinted = [demonstration for demonstration in demonstrations if "|" in demonstration.prompt]
    assert_rate(["|" in demonstration.prompt for demonstration in demonstrations], 0.5)
    assert_rate(["," in demonstration.prompt for demonstration in hinted], Demonstrator().solution_share)
    assert_rate([demonstration.completion.startswith("#") for demonstration in hinted], 0.3)
    unhinted = [demonstration for demonstration in demonstrations if "|" not in demonstration.prompt]
    assert all(find_steps(demonstration.completion) for demonstration in unhinted)


def test_hint_tells_of_the_demonstrated_chain_mistakes_included(demonstrations):
    false_hints = 0
    for demonstration in demonstrations:
        hint, _, expression = demonstration.prompt.rpartition("|")
        steps = find_steps(demonstration.completion)
        assert not steps or yields_answer(steps, expression, demonstration.completion[-1])
        if hint and steps:
            results = [str(step.result) for step in steps]
            assert hint in (",".join(results), results[-1])
            false_hints += any(not step.is_true for step in steps)
    assert false_hints > 100


def test_filler_stands_before_each_step_uniformly(demonstrations):
    unhinted = [demonstration.completion for demonstration in demonstrations if "|" not in demonstration.prompt]
    filler = [text[9 * step + i] for text in unhinted for step in range(7) for i in range(3)]
    assert set(filler) == set(FILLER_SYMBOLS)
    for symbol in FILLER_SYMBOLS:
        assert_rate([drawn == symbol for drawn in filler], 1 / len(FILLER_SYMBOLS))


def test_same_seed_same_demonstration():
    demonstrator = Demonstrator()
    assert demonstrator.demonstrate("3+4*2", random.Random(5)) == demonstrator.demonstrate("3+4*2", random.Random(5))


def test_rates_are_knobs():
    demonstrator = Demonstrator(ChainWorld(), 0.0, slip_rate=0.0, filler=0, hinted_share=1.0, skip_share=0.0)
    demonstration = demonstrator.demonstrate("3+4*2", random.Random(0))
    assert demonstration.completion == "3+4=7;7*2=4;#4"
    always_wrong = Demonstrator(misconception_rate=1.0)
    fact, wrong_result = next(iter(ChainWorld().wrong_results.items()))
    assert always_wrong.recall(fact, random.Random(0)) == wrong_result != fact_result(fact)
