"""Numbers and Trainer settings that make no sense are refused when the parts are made."""

from __future__ import annotations

import math
from typing import Any

import pytest
from lightning.pytorch import Trainer

from rlsd_pl.contexts import FirstOf, SolutionContext
from rlsd_pl.errors import SetupError
from rlsd_pl.objectives import RLSD, RLVR
from rlsd_pl.rollout.checks import PromptLimits
from rlsd_pl.trainer_settings import check_trainer_settings
from tests.harness import TRAINER, data, module, train
from tests.worlds import SumTask


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("temperature", [0.0, -1.0, 1e-9, 1e30, math.inf, math.nan], "expected a number from 0.01 to 100"),
        ("top_p", [0.0, -0.5, 5.0, math.nan, math.inf], "expected a number from 1e-06 to 1"),
        ("top_k", [-1], "expected a whole number from 0"),
        ("max_error_share", [-0.1, 5.0, math.nan], "expected a share from 0 to 1"),
        ("max_skipped_share", [-0.1, 5.0, math.nan], "expected a share from 0 to 1"),
        ("verify_timeout_seconds", [0.0, -1.0, math.nan, math.inf], "expected a number from 1"),
        ("max_completion_tokens", [0, -5, 10**12], "expected a whole number from 1 to 10000000"),
        ("max_prompt_tokens", [0, 10**12], "expected a whole number from 1"),
        ("max_teacher_prompt_tokens", [0, -1, 10**12], "expected a whole number from 1"),
        ("prompts_per_rollout", [0, -4, 10**12], "expected a whole number from 1"),
        ("group_size", [0, 1, 10**12], "expected a whole number from 2"),
        ("micro_batch_size", [0, 10**12], "expected a whole number from 1"),
        ("val_problems", [0, -1, 10**12], "expected a whole number from 1"),
        ("val_samples", [-1, 10**12], "expected a whole number from 0"),
        ("max_resampling_rounds", [-1, 10**12], "expected a whole number from 0"),
    ],
)
def test_numbers_out_of_range_name_the_setting(name, values, expected):
    for value in values:
        with pytest.raises(SetupError) as refused:
            data(**{name: value})
        assert f"Got data.{name}={value}" in str(refused.value)
        assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("precision", "bf16-true", "--model.dtype"),
        ("precision", "16-true", "--model.dtype"),
        ("precision", "64-true", "--model.dtype"),
        ("precision", 64, "--model.dtype"),
        ("max_epochs", None, "at least 1"),
        ("max_epochs", -1, "at least 1"),
        ("max_epochs", 0, "at least 1"),
        ("accumulate_grad_batches", 4, "--data.micro_batch_size"),
        ("fast_dev_run", True, "--trainer.max_epochs 1"),
        ("fast_dev_run", 3, "--trainer.max_epochs 1"),
        ("limit_train_batches", 0.5, "--data.prompts_per_rollout"),
        ("overfit_batches", 1, "table of few problems"),
        ("max_steps", 100, "--trainer.max_epochs"),
        ("val_check_interval", 0.5, "check_val_every_n_epoch"),
        ("check_val_every_n_epoch", None, "at least 1"),
        ("check_val_every_n_epoch", 0, "at least 1"),
        ("gradient_clip_val", -1.0, "at least 0"),
        ("gradient_clip_val", math.nan, "at least 0"),
        ("gradient_clip_val", math.inf, "at least 0"),
        ("reload_dataloaders_every_n_epochs", 0, "1, or the first rollout"),
        ("barebones", True, "switches off logs"),
        ("enable_checkpointing", False, "resumes from its checkpoints"),
        ("default_root_dir", "elsewhere", "--run_dir"),
    ],
)
def test_settings_of_the_trainer_that_a_run_cannot_honour_say_what_to_set(name, value, instead):
    with pytest.raises(SetupError) as refused:
        check_trainer_settings({"max_epochs": 3, "logger": None, name: value})
    assert f"Got trainer.{name}={value}; expected" in str(refused.value)
    assert instead in str(refused.value)


@pytest.mark.parametrize("precision", [None, 32, "32", "32-true", "16-mixed", "bf16-mixed", "bf16"])
def test_settings_that_a_run_honours_pass(precision):
    check_trainer_settings(
        {
            "precision": precision,
            "max_epochs": 5,
            "gradient_clip_val": 1.0,
            "fast_dev_run": False,
            "enable_checkpointing": None,
            "default_root_dir": None,
            "accumulate_grad_batches": 1,
            "max_steps": -1,
            "limit_train_batches": None,
            "reload_dataloaders_every_n_epochs": 1,
            "devices": "auto",
        }
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "bf16-true"}, "trainer.precision=bf16-true"),
        ({"precision": "64-true"}, "trainer.precision=64-true"),
        ({"fast_dev_run": True}, "trainer.fast_dev_run=True"),
        ({"accumulate_grad_batches": 3}, "trainer.accumulate_grad_batches=3"),
        ({"limit_train_batches": 0.5}, "trainer.limit_train_batches=0.5"),
        ({"overfit_batches": 1}, "trainer.overfit_batches=1"),
        ({"max_steps": 5}, "trainer.max_steps=5"),
        ({"gradient_clip_val": -1.0}, "trainer.gradient_clip_val=-1.0"),
        ({"reload_dataloaders_every_n_epochs": 0}, "trainer.reload_dataloaders_every_n_epochs=0"),
    ],
)
def test_a_trainer_made_in_python_is_looked_at_too(settings, said, tiny_model):
    with pytest.raises(SetupError, match=said):
        train(tiny_model, RLVR(), trainer=settings)


def test_a_trainer_may_fit_twice(tiny_model):
    trainer = Trainer(**{**TRAINER, "max_epochs": 1})
    trained, rollouts = module(tiny_model, RLVR()), data(micro_batch_size=3)
    trainer.fit(trained, rollouts)
    assert trainer.accumulate_grad_batches == 6
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trained, rollouts)
    assert trainer.current_epoch == 2


@pytest.mark.parametrize("settings", [{"top_p": 0.9}, {"top_k": 5}])
def test_truncated_sampling_is_told_once(settings, tiny_model, caplog):
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        train(tiny_model, RLVR(), **settings)
    assert caplog.text.count("Sampling is truncated") == 1


# --- positions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"positions": None, "completion": 50, "student": 1024, "teacher": None}, (1024, None)),
        ({"positions": 100, "completion": 30, "student": 1024, "teacher": None}, (70, 70)),
        ({"positions": 100, "completion": 30, "student": 20, "teacher": 60}, (20, 60)),
        ({"positions": 100, "completion": 99, "student": 20, "teacher": None}, (1, 1)),
    ],
)
def test_prompts_get_what_the_positions_leave(arguments, expected):
    limits = PromptLimits.within(**arguments)
    assert (limits.student, limits.teacher) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_completion_tokens": 4096}, "max_completion_tokens=4096 for a model of 4096 positions"),
        ({"max_completion_tokens": 4072, "max_teacher_prompt_tokens": 25}, "tokens=25; expected at most 24"),
        ({"max_completion_tokens": 4092}, "longer than 4 tokens, all that the model's 4096 positions leave beside"),
    ],
)
def test_what_does_not_fit_into_the_positions_is_refused(settings, said, tiny_model):
    with pytest.raises(SetupError, match=said):
        train(tiny_model, RLVR(), **settings)


class Wordy(SumTask):
    """Every third problem has a long solution."""

    def problem(self, split, index):
        problem = super().problem(split, index)
        long = {"solution": "so much more to say " * 40}
        return problem if index % 3 else type(problem)(problem.id, problem.messages, problem.answer, long)


def test_problems_whose_context_is_too_long_are_skipped_and_told(tiny_model, caplog):
    settings: dict[str, Any] = {"task": Wordy(), "max_teacher_prompt_tokens": 250, "max_skipped_share": 0.5}
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        train(tiny_model, RLSD(), trainer={"max_epochs": 1}, **settings)
    assert "Skipping 22 of 64 train problems" in caplog.text
    assert "the teacher's prompt longer than data.max_teacher_prompt_tokens=250" in caplog.text
    caplog.clear()
    train(tiny_model, RLVR(), trainer={"max_epochs": 1}, **settings)
    assert "Skipping" not in caplog.text, "no teacher is asked"


def test_contexts_that_turn_out_too_long_in_the_rollout_count_as_none(tiny_model, caplog):
    trained = module(tiny_model, RLSD())
    trained.context = FirstOf([SolutionContext()])
    rollouts = data(task=Wordy(), max_teacher_prompt_tokens=250, prompts_per_rollout=12)
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        Trainer(**{**TRAINER, "max_epochs": 1}).fit(trained, rollouts)
    assert rollouts.latest is not None
    long = [len(rollout.problem.privileged["solution"]) > 100 for rollout in rollouts.latest.rollouts]
    assert 0 < sum(long) < len(long)
    assert rollouts.latest.batch.teacher.has_context.tolist() == [not each for each in long]
    assert rollouts.latest_metrics["rollout/no_context"] == pytest.approx(sum(long) / len(long))
    assert f"{sum(long)} of 48 teacher prompts are longer than 250 tokens" in caplog.text
