"""What must not change a run does not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from callbacks.leakage import LeakageDetection, teacher_kl_sums
from rlsd_pl import objectives
from rlsd_pl.errors import SetupError
from rlsd_pl.objectives import OPSD, Constant, KeepReward, SequenceMean, SequenceSum, TokenMean
from rlsd_pl.teachers import FrozenTeacher, PeriodicTeacher
from tests.harness import TRAINER, data, module, train, weights

# A random model never ends a completion within ten tokens; its truncated ones have to carry the signal here.
RLVR = partial(objectives.RLVR, truncation=KeepReward())
RLSD = partial(objectives.RLSD, truncation=KeepReward())
OPSDSampled = partial(objectives.OPSDSampled, truncation=KeepReward())


def largest_difference(first, second):
    return max(
        (a - b).abs().max().item() for a, b in zip(weights(first).values(), weights(second).values(), strict=True)
    )


def test_training_moves_the_policy(tiny_model):
    assert largest_difference(train(tiny_model, RLVR()), train(tiny_model, RLVR(), trainer={"max_epochs": 1})) > 1e-4


def test_rlsd_with_lambda_zero_is_the_rlvr_run_bit_for_bit(tiny_model):
    first = train(tiny_model, RLVR())
    second = train(tiny_model, RLSD(strength=Constant(0.0)), teacher=PeriodicTeacher(1))
    assert largest_difference(first, second) == 0.0


def test_rlsd_with_lambda_one_is_another_run(tiny_model):
    first = train(tiny_model, RLVR())
    assert largest_difference(first, train(tiny_model, RLSD(strength=Constant(1.0)))) > 0


@pytest.mark.parametrize("objective", [RLVR, RLSD, OPSD, OPSDSampled], ids=["rlvr", "rlsd", "opsd", "opsd-sampled"])
@pytest.mark.parametrize("micro_batch_size", [1, 3, 5])
def test_micro_batches_give_the_update_of_one_big_batch(tiny_model, objective, micro_batch_size):
    whole = train(tiny_model, objective(), trainer={"max_epochs": 1}, micro_batch_size=16)
    cut = train(tiny_model, objective(), trainer={"max_epochs": 1}, micro_batch_size=micro_batch_size)
    assert largest_difference(whole, cut) < 1e-6


@pytest.mark.parametrize("reduction", [TokenMean(), SequenceMean(), SequenceSum(max_tokens=10)])
def test_trap_6_every_reduction_divides_by_the_global_count(tiny_model, reduction):
    whole = train(tiny_model, RLVR(reduction=reduction), trainer={"max_epochs": 1}, micro_batch_size=16)
    cut = train(tiny_model, RLVR(reduction=reduction), trainer={"max_epochs": 1}, micro_batch_size=3)
    assert largest_difference(whole, cut) < 1e-6


def test_several_updates_per_rollout_step_the_optimizer_as_often(tiny_model):
    trained = module(tiny_model, RLVR())
    trainer = Trainer(**{**TRAINER, "max_epochs": 3})
    trainer.fit(trained, data(updates_per_rollout=4, micro_batch_size=2))
    assert trainer.global_step == 12
    assert trainer.accumulate_grad_batches == 2


def test_the_update_is_on_policy_where_a_rollout_serves_one_update(tiny_model):
    for updates, off_policy in ((1, False), (2, True)):
        rollouts = data(updates_per_rollout=updates)
        Trainer(**{**TRAINER, "max_epochs": 1}).fit(module(tiny_model, RLVR()), rollouts)
        assert rollouts.latest.batch.off_policy is off_policy


def test_permuting_micro_batches_changes_nothing(tiny_model):
    class Reversed(type(data())):
        def micro_batches(self, batch, iteration):
            order = torch.arange(len(batch)).flip(0)
            return super().micro_batches(batch.select(order), iteration)[::-1]

    first = train(tiny_model, RLSD(), trainer={"max_epochs": 1}, micro_batch_size=3)
    second = module(tiny_model, RLSD())
    plain = data(micro_batch_size=3)
    plain.__class__ = Reversed
    Trainer(**{**TRAINER, "max_epochs": 1}).fit(second, plain)
    assert largest_difference(first, second) < 1e-6


def test_objectives_see_the_same_problems_and_first_rollouts(tiny_model):
    seen = []
    for objective in (RLVR(), RLSD(), OPSD()):
        rollouts = data()
        Trainer(**{**TRAINER, "max_epochs": 1}).fit(module(tiny_model, objective), rollouts)
        seen.append([(r.problem.id, r.completion) for r in rollouts.latest.rollouts])
    assert seen[0] == seen[1] == seen[2]


def test_problems_of_a_finite_task_come_once_per_pass(tiny_model):
    class Watch(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.extend(group[0].problem.id for group in trainer.datamodule.latest.groups)

    seen: list[str] = []
    rollouts = data(prompts_per_rollout=16, group_size=2, max_completion_tokens=2)
    Trainer(**{**TRAINER, "max_epochs": 8, "callbacks": [Watch()]}).fit(module(tiny_model, RLVR()), rollouts)
    first, second = seen[:64], seen[64:]
    assert len(set(first)) == len(set(second)) == 64
    assert first != second


def test_checkpoint_holds_the_teacher_and_resume_restores_it(tiny_model, tmp_path):
    teacher = PeriodicTeacher(every=2)
    trained = module(tiny_model, RLSD(), teacher)
    trainer = Trainer(**{**TRAINER, "max_epochs": 3, "enable_checkpointing": True, "default_root_dir": tmp_path})
    trainer.fit(trained, data())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    other = PeriodicTeacher(every=2)
    again = module(tiny_model, RLSD(), other)
    Trainer(**{**TRAINER, "max_epochs": 3}).fit(again, data(), ckpt_path=tmp_path / "end.ckpt", weights_only=False)
    assert largest_difference(trained, again) == 0.0
    for mine, theirs in zip(teacher.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert largest_difference(trained, train(tiny_model, RLSD(), teacher=FrozenTeacher(), trainer={"max_epochs": 0}))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"group_size": 1}, "group_size=1"),
        ({"group_size": -8}, "group_size=-8"),
        ({"temperature": 0.0}, "temperature"),
        ({"updates_per_rollout": 5}, "updates_per_rollout=5"),
        ({"prompts_per_rollout": 0}, "prompts_per_rollout=0"),
    ],
)
def test_impossible_settings_are_refused_at_construction(settings, match):
    with pytest.raises(ValueError, match=match):
        data(**settings)


def test_a_trainer_that_would_reuse_the_first_rollout_is_refused(tiny_model):
    with pytest.raises(SetupError, match="reload_dataloaders_every_n_epochs"):
        train(tiny_model, RLVR(), trainer={"reload_dataloaders_every_n_epochs": 0})


def test_problems_that_cannot_be_used_stop_the_run_or_are_skipped(tiny_model, caplog):
    class Holed(type(data().task)):
        def problem(self, split, index):
            problem = super().problem(split, index)
            return replace(problem, privileged={}) if index % 8 == 0 else problem

    with pytest.raises(SetupError, match="absent or blank"):
        train(tiny_model, RLSD(), task=Holed(), max_skipped_share=0.05)
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        train(tiny_model, RLSD(), task=Holed(), trainer={"max_epochs": 1})
    assert "Skipping 8 of 64 train problems" in caplog.text
    assert "is absent or blank (sum/train/0, sum/train/8, sum/train/16, ...)." in caplog.text
    train(tiny_model, RLVR(), task=Holed(), max_skipped_share=0.0, trainer={"max_epochs": 1})


def test_held_out_problems_need_no_privileged_text(tiny_model):
    class Unexplained(type(data().task)):
        def problem(self, split, index):
            problem = super().problem(split, index)
            return replace(problem, privileged={}) if split == "val" and index % 2 else problem

    watch = LeakageDetection()
    evaluated = {"max_epochs": 1, "limit_val_batches": 1.0, "callbacks": [watch]}
    trained = train(tiny_model, RLSD(), task=Unexplained(), max_skipped_share=0.0, trainer=evaluated)
    sampled = trained.evaluation.sampled
    assert [bool(group[0].problem.privileged) for group in sampled] == [True, False, True, False]
    explained = [group for group in sampled if group[0].problem.privileged]
    expected = teacher_kl_sums(trained, explained)["teacher_kl"]
    assert teacher_kl_sums(trained, sampled)["teacher_kl"] == pytest.approx(expected)
    assert teacher_kl_sums(trained, [group for group in sampled if not group[0].problem.privileged]) == {}


def test_long_prompts_are_refused_with_the_setting_to_change(tiny_model):
    with pytest.raises(SetupError, match="max_prompt_tokens=3"):
        train(tiny_model, RLVR(), max_prompt_tokens=3)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_model):
    class Broken(objectives.RLVR):
        def loss(self, batch, scores):
            return super().loss(batch, scores)._replace(loss=scores.logprobs * float("nan"))

    with pytest.raises(FloatingPointError, match="Lower"):
        train(tiny_model, Broken())


def test_validation_measures_greedy_and_sampled_accuracy(tiny_model):
    trained = module(tiny_model, RLVR())
    trainer = Trainer(**{**TRAINER, "limit_val_batches": 1.0})
    trainer.validate(trained, data(val_problems=5, val_samples=3), verbose=False)
    evaluation = trained.evaluation
    assert len(evaluation.greedy) == 5
    assert [len(group) for group in evaluation.sampled] == [3] * 5
    measured = {key: value.item() for key, value in trainer.callback_metrics.items()}
    assert measured["val/greedy_accuracy"] == pytest.approx(sum(r.verdict.reward for r in evaluation.greedy) / 5)
    flat = [r.verdict.reward for group in evaluation.sampled for r in group]
    assert measured["val/sampled_accuracy"] == pytest.approx(sum(flat) / 15)
    any_correct = [any(r.verdict.reward for r in group) for group in evaluation.sampled]
    assert measured["val/pass_at_3"] == pytest.approx(sum(any_correct) / 5)
