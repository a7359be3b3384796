"""What must not change a run does not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from rlsd_pl import objectives
from rlsd_pl.callbacks import RolloutMetrics
from rlsd_pl.callbacks.leakage import LeakageDetection, teacher_kl_sums
from rlsd_pl.contexts import RejectedSiblings, SolutionContext, SuccessfulSibling
from rlsd_pl.engines import GroupedEngine
from rlsd_pl.errors import SetupError
from rlsd_pl.module import NonFiniteError, PolicyModule
from rlsd_pl.objectives import OPSD, Constant, KeepReward, SequenceMean, SequenceSum, TokenMean
from rlsd_pl.policy import LoRA
from rlsd_pl.teachers import EMATeacher, FrozenTeacher, LiveTeacher, PeriodicTeacher
from tests.harness import TRAINER, data, module, train, weights

# A random model never ends a completion within ten tokens; its truncated ones have to carry the signal here.
RLVR = partial(objectives.RLVR, truncation=KeepReward())
RLSD = partial(objectives.RLSD, truncation=KeepReward())
OPSDSampled = partial(objectives.OPSDSampled, truncation=KeepReward())
SDPO = partial(objectives.SDPO, truncation=KeepReward())
SDPG = partial(objectives.SDPG, objectives.Constant(0.5), truncation=KeepReward())
CEPO = partial(objectives.CEPO, truncation=KeepReward())


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


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("budget", [1, 100])
def test_a_token_budget_gives_the_same_updates(tiny_model, updates, budget):
    """A budget of 1 puts every completion into a micro-batch of its own."""
    run = partial(train, tiny_model, RLSD(), trainer={"max_epochs": 1}, updates_per_rollout=updates)
    assert largest_difference(run(micro_batch_size=16), run(micro_batch_tokens=budget)) < 1e-5


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


@pytest.mark.parametrize("lora", [LoRA(), LoRA(r=2)], ids=["full", "lora"])
@pytest.mark.parametrize(
    ("make_objective", "make_teacher"),
    [
        (RLSD, partial(PeriodicTeacher, every=2)),
        (SDPO, partial(EMATeacher, decay=0.5)),
        (RLSD, FrozenTeacher),
        (SDPG, LiveTeacher),
        (CEPO, partial(EMATeacher, decay=0.5)),
    ],
    ids=["periodic", "ema", "frozen", "live-with-reference", "contrast"],
)
def test_a_resumed_run_has_the_teacher_and_the_weights_of_an_uninterrupted_one(
    make_objective, make_teacher, lora, tiny_model, tmp_path
):
    def run(iterations: int, checkpoint: str | None = None) -> PolicyModule:
        torch.manual_seed(0)  # adapters are drawn at random
        contrast = (
            RejectedSiblings(count=1, template=SolutionContext().template.source) if make_objective is CEPO else None
        )
        trained = module(tiny_model, make_objective(), make_teacher(), lora=lora, contrast=contrast)
        trainer = Trainer(**{**TRAINER, "max_epochs": iterations})
        trainer.fit(trained, data(), ckpt_path=checkpoint, weights_only=False if checkpoint else None)
        trainer.save_checkpoint(tmp_path / f"{iterations}.ckpt")
        return trained

    start = train(tiny_model, RLVR(), trainer={"max_epochs": 0}) if not lora.r else None
    run(3)
    resumed, straight = run(5, str(tmp_path / "3.ckpt")), run(5)
    kept, expected = resumed.state_dict(), straight.state_dict()
    assert kept.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in kept.items())
    assert start is None or largest_difference(start, straight) > 0
    whole = sum(p.numel() for p in straight.policy.trainable().values())
    copies = [teacher for teacher in (straight.teacher, straight.reference) if teacher is not None]
    for teacher in copies:
        copied = sum(p.numel() for p in teacher.parameters())
        free = isinstance(teacher, LiveTeacher) or (isinstance(teacher, FrozenTeacher) and lora.r)
        assert copied == (0 if free else whole), "only trainable tensors are copied, and none that need not be"


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


def test_held_out_problems_need_no_privileged_text(tiny_model, monkeypatch):
    class Unexplained(type(data().task)):
        def problem(self, split, index):
            problem = super().problem(split, index)
            return replace(problem, privileged={}) if split == "val" and index % 2 else problem

    watch = LeakageDetection()
    evaluated = {"max_epochs": 1, "limit_val_batches": 1.0, "callbacks": [watch]}
    trained, rollouts = module(tiny_model, RLSD()), data(task=Unexplained(), max_skipped_share=0.0)
    Trainer(**{**TRAINER, **evaluated}).fit(trained, rollouts)
    sampled = trained.evaluation.sampled
    assert [bool(group[0].problem.privileged) for group in sampled] == [True, False, True, False]
    explained = [group for group in sampled if group[0].problem.privileged]
    expected = teacher_kl_sums(trained, rollouts, explained)["teacher_kl"]
    assert teacher_kl_sums(trained, rollouts, sampled)["teacher_kl"] == pytest.approx(expected)
    unexplained = [group for group in sampled if not group[0].problem.privileged]
    assert teacher_kl_sums(trained, rollouts, unexplained) == {}
    assert teacher_kl_sums(trained, rollouts, []) == {}
    # Other processes have some: one without a held-out problem scores along with them, and adds nothing.
    scored: list[int] = []
    trained.policy.register_forward_hook(lambda *_: scored.append(1))
    monkeypatch.setattr("rlsd_pl.callbacks.leakage_samples.global_means", lambda sums: {"shown": 0.5})
    assert teacher_kl_sums(trained, rollouts, []) == {"teacher_kl": (0.0, 0.0)}
    assert len(scored) == 1


def test_long_prompts_are_refused_with_the_setting_to_change(tiny_model):
    with pytest.raises(SetupError, match="max_prompt_tokens=3"):
        train(tiny_model, RLVR(), max_prompt_tokens=3)


class BrokenInUpdates(objectives.RLVR):
    """RLVR whose loss is ``value`` in some updates, counted from 0."""

    def __init__(self, updates: Collection[int], value: float = float("nan")) -> None:
        super().__init__(truncation=KeepReward())
        self.updates, self.value, self.update = updates, value, 0

    def loss(self, batch, scores):
        loss = super().loss(batch, scores)
        self.update += 1
        return loss._replace(loss=scores.logprobs * self.value) if self.update - 1 in self.updates else loss


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_update_whose_gradient_is_not_finite_is_skipped_and_counted(tiny_model, value):
    class Keep(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            kept.append(weights(pl_module))
            skipped.append(trainer.callback_metrics["train/skipped_updates"].item())

        def on_train_start(self, trainer, pl_module):
            kept.append(weights(pl_module))

    kept: list[dict[str, torch.Tensor]] = []
    skipped: list[float] = []
    trainer = {"max_epochs": 3, "callbacks": [Keep()]}
    train(tiny_model, BrokenInUpdates({1}, value), trainer=trainer)
    moved = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(kept)]
    assert moved == [True, False, True]
    assert skipped == [0.0, 1.0, 0.0]


def test_too_many_skipped_updates_in_a_row_stop_the_run(tiny_model, tmp_path):
    with pytest.raises(NonFiniteError, match=r"in 3 updates in a row, the last in iteration 4.*Lower --optimizer\.lr"):
        train(tiny_model, BrokenInUpdates(range(1, 9)), trainer={"max_epochs": 9, "default_root_dir": tmp_path})
    saved = torch.load(tmp_path / "nonfinite_batch.pt", weights_only=True)
    assert saved["ids"].shape == saved["token_advantages"].shape == saved["loss_mask"].shape
    assert saved["ids"].shape[0] == 16
    train(tiny_model, BrokenInUpdates({0, 1, 3, 4}), trainer={"max_epochs": 6})


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
    assert {key for key in measured if key.startswith("val/pass_at_")} == {f"val/pass_at_{k}" for k in (1, 2, 3)}


def test_held_out_problems_are_completed_with_the_weights_of_each_evaluation(tiny_model):
    """The loader of the evaluation before training serves the first one after it, too."""

    class Keep(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            logprobs.append([c.completion.logprobs for c in pl_module.evaluation.greedy])

    logprobs: list[list[tuple[float, ...]]] = []
    trainer = {"limit_val_batches": 1.0, "num_sanity_val_steps": -1, "max_epochs": 2, "callbacks": [Keep()]}
    train(tiny_model, RLVR(), trainer=trainer)
    assert len(logprobs) == 3
    assert logprobs[0] != logprobs[1] != logprobs[2]


@pytest.mark.parametrize("objective", [RLVR(), objectives.SFT()], ids=["rlvr", "sft"])
def test_updates_run_in_training_mode(objective, tiny_model):
    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, *args):
            modes.update(m.training for m in pl_module.policy.modules())

    modes: set[bool] = set()
    Trainer(**{**TRAINER, "max_epochs": 1, "callbacks": [Watch()]}).fit(module(tiny_model, objective), data())
    assert modes == {True}


def test_log_probs_of_the_sampling_policy_have_no_dropout_in_them(tiny_model):
    """With dropout on the adapters, what is recorded is what the policy without dropout says."""
    for objective in (RLVR(), objectives.SFT()):
        trained = module(tiny_model, objective, lora=LoRA(r=2, dropout=0.9), optimizer=partial(torch.optim.SGD, lr=0.0))
        rollouts = data()
        trained.configure_model()
        with torch.no_grad():
            for name, parameter in trained.policy.trainable().items():
                if "lora_B" in name:
                    parameter.normal_()
        Trainer(**{**TRAINER, "max_epochs": 1}).fit(trained, rollouts)
        batch = rollouts.latest.batch
        trained.policy.eval()
        scored = trained.policy(batch.prompts, batch.completions, 1.0).logprobs
        assert torch.allclose(scored, batch.rollout_logprobs, atol=1e-4)


@pytest.mark.parametrize("make_context", [SolutionContext, SuccessfulSibling])
def test_a_chat_template_that_cannot_show_a_context_is_found_before_training(tiny_model, make_context):
    trained, rollouts = module(tiny_model, RLSD()), data()
    trained.context = make_context(place="system")
    trained.tokenizer.chat_template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(SetupError, match=r"leaves out the system turn|cannot be used"):
        Trainer(**TRAINER).fit(trained, rollouts)
    assert rollouts.latest is None


def test_the_logged_learning_rate_is_that_of_the_iterations_updates(tiny_model):
    class Logged(Callback):
        rates: list[float] = []

        def on_train_epoch_end(self, trainer, pl_module):
            self.rates.append(trainer.callback_metrics["train/lr"].item())

    def halve(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    trained = module(tiny_model, RLVR(), lr_scheduler=halve)
    logged = Logged()
    Trainer(**{**TRAINER, "max_epochs": 3, "callbacks": [logged]}).fit(trained, data(updates_per_rollout=2))
    assert logged.rates == [1.0, 0.5, 0.25]


class Slow(Callback):
    """Takes .2 s in each evaluation and .1 s before each rollout."""

    def __init__(self) -> None:
        self.measured: list[dict[str, float]] = []

    def on_validation_epoch_start(self, trainer, pl_module):
        time.sleep(0.2)

    def on_train_epoch_end(self, trainer, pl_module):
        self.measured.append({k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("perf/")})
        time.sleep(0.1)


def test_seconds_belong_to_the_phase_that_took_them(tiny_model):
    slow = Slow()
    evaluating = {**TRAINER, "max_epochs": 2, "limit_val_batches": 1}
    Trainer(**evaluating, callbacks=[RolloutMetrics(), slow]).fit(module(tiny_model, RLVR()), data())
    first, second = slow.measured
    assert "perf/other_seconds" not in first
    for measured in slow.measured:
        assert measured["perf/evaluation_seconds"] >= 0.2
        assert measured["perf/update_seconds"] > 0
        assert 0 <= measured["perf/padding_share"] < 1
        assert measured["perf/peak_memory_bytes"] > 1e8, "a process with torch in it"
    assert second["perf/other_seconds"] >= 0.1


def test_the_engine_is_bound_told_of_new_weights_and_closed(tiny_model):
    told: list[str] = []

    class Listening(GroupedEngine):
        def bind(self, policy):
            told.append("bind")

        def weights_changed(self):
            told.append("weights")

        def generate(self, *args, **kwargs):
            told.append("generate")
            return super().generate(*args, **kwargs)

        def close(self):
            told.append("close")

    evaluating = {**TRAINER, "max_epochs": 2, "limit_val_batches": 1}
    Trainer(**evaluating).fit(module(tiny_model, RLVR()), data(engine=Listening()))
    # A rollout, greedy and sampled completions of held-out problems with the new weights, and once more.
    once = ["generate", "weights", "generate", "generate"]
    assert told == ["bind", *once, *once, "close"]
