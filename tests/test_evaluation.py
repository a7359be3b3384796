"""Accuracies of an evaluation, each expected value worked out by hand."""

from __future__ import annotations

import pytest

from rlsd_pl.collectives import global_means
from rlsd_pl.evaluation import Evaluation, accuracy_sums, majority_reward
from rlsd_pl.types import Completion, Problem, Rollout, Status, ValidationBatch, Verdict

PROBLEM = Problem("p", ({"role": "user", "content": "?"},), "4")


def rollout(answer: str | None, reward: float) -> Rollout:
    verdict = Verdict(reward, Status.PASS if reward else Status.FAIL, answer=answer)
    return Rollout(PROBLEM, Completion((1,), (0.0,), ""), verdict)


RIGHT, WRONG, OTHER, NONE = rollout("4", 1.0), rollout("5", 0.0), rollout("6", 0.0), rollout(None, 0.0)
ERROR = Rollout(PROBLEM, Completion((1,), (0.0,), ""), Verdict(0.0, Status.ERROR, "the verifier failed"))


def test_accuracies_of_two_problems_with_four_samples():
    sampled = [[RIGHT, WRONG, WRONG, OTHER], [RIGHT, RIGHT, WRONG, NONE]]
    measured = global_means(accuracy_sums([RIGHT, WRONG, WRONG, WRONG], sampled))
    assert measured == pytest.approx(
        {
            "val/greedy_accuracy": 1 / 4,
            "val/greedy_status_error": 0.0,
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
    sums = accuracy_sums([RIGHT, RIGHT], [])
    assert sums == {"val/greedy_accuracy": (2.0, 2.0), "val/greedy_status_error": (0.0, 2.0)}


def test_completions_that_the_verifier_failed_on_are_neither_right_nor_wrong():
    sampled = [
        [RIGHT, ERROR, WRONG, RIGHT],  # n = 3, c = 2
        [ERROR, ERROR, ERROR, WRONG],  # n = 1, c = 0
        [ERROR, ERROR, ERROR, ERROR],  # nothing is known
        [RIGHT, WRONG, WRONG, WRONG],  # n = 4, c = 1
    ]
    assert global_means(accuracy_sums([RIGHT, ERROR, ERROR, WRONG], sampled)) == pytest.approx(
        {
            "val/greedy_accuracy": 1 / 2,
            "val/greedy_status_error": 2 / 4,
            "val/sampled_accuracy": 3 / 8,
            "val/pass_at_1": (2 / 3 + 0 + 1 / 4) / 3,
            "val/pass_at_2": (1.0 + (1 - 3 / 6)) / 2,  # C(1, 2) / C(3, 2) = 0; C(3, 2) / C(4, 2) = 3 / 6
            "val/pass_at_4": 1.0,  # one problem has four
            "val/maj_at_4": 1 / 3,  # right, wrong, (nothing), wrong
        }
    )


def test_where_every_verdict_is_an_error_there_is_no_accuracy():
    assert global_means(accuracy_sums([ERROR], [[ERROR, ERROR]])) == {"val/greedy_status_error": 1.0}


def test_all_that_an_evaluation_of_errors_says():
    evaluation = Evaluation()
    evaluation.update(ValidationBatch([ERROR], [[ERROR, ERROR]]))
    assert evaluation.compute() == {
        "val/greedy_status_error": 1.0,
        "val/status_error": 1.0,
        **{f"val/status_{status}": 0.0 for status in ("pass", "fail", "invalid", "limit")},
        "val/length": 1.0,
        "val/truncated": 0.0,
    }


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
