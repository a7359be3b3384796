"""Accuracies of an evaluation, each expected value worked out by hand."""

from __future__ import annotations

import pytest

from rlsd_pl.collectives import global_means
from rlsd_pl.evaluation import accuracy_sums, majority_reward
from rlsd_pl.types import Completion, Problem, Rollout, Status, Verdict

PROBLEM = Problem("p", ({"role": "user", "content": "?"},), "4")


def rollout(answer: str | None, reward: float) -> Rollout:
    verdict = Verdict(reward, Status.PASS if reward else Status.FAIL, answer=answer)
    return Rollout(PROBLEM, Completion((1,), (0.0,), ""), verdict)


RIGHT, WRONG, OTHER, NONE = rollout("4", 1.0), rollout("5", 0.0), rollout("6", 0.0), rollout(None, 0.0)


def test_accuracies_of_two_problems_with_four_samples():
    sampled = [[RIGHT, WRONG, WRONG, OTHER], [RIGHT, RIGHT, WRONG, NONE]]
    measured = global_means(accuracy_sums([RIGHT, WRONG, WRONG, WRONG], sampled))
    assert measured == pytest.approx(
        {
            "val/greedy_accuracy": 1 / 4,
            "val/sampled_accuracy": 3 / 8,
            "val/pass_at_1": 3 / 8,
            "val/pass_at_2": (1 - 3 / 6 + 1 - 1 / 6) / 2,
            "val/pass_at_4": 1.0,
            "val/maj_at_4": 1 / 2,
        }
    )


@pytest.mark.parametrize("samples", [3, 6])
def test_pass_at_k_is_given_for_powers_of_two_and_for_the_number_of_samples(samples):
    keys = accuracy_sums([], [[RIGHT] * samples]).keys()
    powers = {1, 2} if samples == 3 else {1, 2, 4}
    assert {key for key in keys if "pass" in key} == {f"val/pass_at_{k}" for k in powers | {samples}}


def test_only_greedy():
    assert accuracy_sums([RIGHT, RIGHT], []) == {"val/greedy_accuracy": (2.0, 2.0)}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ([WRONG, RIGHT, RIGHT], 1.0),
        ([WRONG, RIGHT, WRONG], 0.0),
        ([RIGHT, WRONG], 1.0),  # a tie: the first sampled one
        ([WRONG, RIGHT], 0.0),
        ([NONE, NONE, RIGHT], 1.0),  # what has no answer has no vote
        ([NONE, NONE], None),
        ([rollout(" 4 ", 1.0), rollout("4", 1.0), WRONG], 1.0),
    ],
)
def test_the_majoritys_reward(group, expected):
    assert majority_reward(group) == expected


def test_without_any_answer_there_is_no_majority():
    assert not any("maj" in key for key in accuracy_sums([], [[NONE, NONE], [NONE, NONE]]))


def test_a_problem_without_any_answer_counts_as_lost():
    assert accuracy_sums([], [[NONE, NONE], [RIGHT, RIGHT]])["val/maj_at_2"] == (1.0, 2.0)
