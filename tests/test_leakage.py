"""The leakage callback sees what it should, warns once, and remembers its baseline."""

from __future__ import annotations

import pytest
from lightning.pytorch import Trainer

from rlsd_pl.callbacks import LeakageDetection
from rlsd_pl.contexts import SuccessfulSibling
from rlsd_pl.objectives import RLSD
from rlsd_pl.types import Completion, Problem, Rollout, Status, Verdict
from tests.harness import TRAINER, data, module


def rollout(text: str, prompt: str = "What is 2 + 2?") -> Rollout:
    problem = Problem("p", [{"role": "user", "content": prompt}])
    return Rollout(problem, Completion((1,), (-1.0,), text), Verdict(1.0, Status.PASS))


@pytest.mark.parametrize(
    "text",
    [
        "As given in the solution, x is 4.",
        "According to the reference, it is 4.",
        "This matches the provided answer.",
        "We already know that the final answer is 4, so",
        "because it is stated in the answer",
    ],
)
def test_phrases_that_refer_to_unseen_material_count(text):
    assert LeakageDetection().refers_to_unseen(rollout(text))


@pytest.mark.parametrize("text", ["The answer is 4.", "We know that 2 + 2 = 4.", "I refer to step 1.", ""])
def test_ordinary_reasoning_does_not(text):
    assert not LeakageDetection().refers_to_unseen(rollout(text))


def test_a_phrase_that_the_problem_itself_holds_does_not_count():
    text = "According to the reference, water boils at 100 degrees."
    assert not LeakageDetection().refers_to_unseen(rollout(text, prompt="Use this: according to the reference, ..."))


def test_patterns_are_the_users():
    watch = LeakageDetection(patterns=["psst"])
    assert watch.refers_to_unseen(rollout("PSST, it is 4"))
    assert not watch.refers_to_unseen(rollout("According to the reference"))


def test_everything_is_logged_and_a_crossed_threshold_warns_once(tiny_model, caplog):
    watch = LeakageDetection(max_hollow_rate=-1.0)
    trainer = Trainer(**{**TRAINER, "limit_val_batches": 1.0, "callbacks": [watch]})
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        trainer.fit(module(tiny_model, RLSD()), data())
    keys = {"hollow_rate", "phrase_rate", "length_drift", "teacher_kl"}
    assert {f"leakage/{key}" for key in keys} <= trainer.callback_metrics.keys()
    assert caplog.text.count("leakage/hollow_rate is") == 1
    again = LeakageDetection()
    again.load_state_dict(watch.state_dict())
    assert again.first_length == watch.first_length == 10.0


def test_a_context_that_held_out_completions_lack_gives_no_divergence(tiny_model):
    trainer = Trainer(**{**TRAINER, "max_epochs": 1, "limit_val_batches": 1.0, "callbacks": [LeakageDetection()]})
    trained = module(tiny_model, RLSD())
    trained.context = SuccessfulSibling()
    trainer.fit(trained, data())
    assert "leakage/phrase_rate" in trainer.callback_metrics
    assert "leakage/teacher_kl" not in trainer.callback_metrics
