"""Each objective trains from its preset, and gets in a rollout what it asks for."""

from __future__ import annotations

import math
import re
import shlex
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer

from rlsd_pl import objectives as o
from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.presets import available
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from rlsd_pl.contexts import RejectedSiblings, SolutionContext, SuccessfulSibling
from rlsd_pl.engines import demonstrate
from rlsd_pl.errors import SetupError
from rlsd_pl.rollout.collector import RolloutCollector
from rlsd_pl.teachers import FrozenTeacher, LiveTeacher
from rlsd_pl.types import PaddedTokens, Sampling
from tests.conftest import REPOSITORY
from tests.harness import TRAINER, data, module, train, weights
from tests.test_rollouts import PROBLEMS, EmptyHandedContext, make
from tests.worlds import SumTask


@pytest.fixture
def launch(tiny_model, tmp_path, monkeypatch, problem_file):
    """Run ``fit.py`` on the tiny model."""
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])

    def launched(*flags: str):
        folder = tmp_path / "run"
        fit(
            [
                *("--model", str(tiny_model), "--task", "jsonl", "--task.path", str(problem_file), "--trainer", "cpu"),
                *("--task.prompt_column", "question", "--task.answer_pattern", "#### (.+)", "--num_threads", "1"),
                *("--task.privileged.solution", "answer", "--task.val_fraction", "0.3"),
                *("--data.val_problems", "1", "--data.val_samples", "0"),
                *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.max_completion_tokens", "6"),
                *("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--trainer.callbacks", "null"),
                *("--run_dir", str(folder), *flags),
            ]
        )
        return read_history(folder)

    return launched


@pytest.mark.parametrize("name", [name for name in available("objective") if name != "oracle"])
def test_every_preset_trains_a_model_on_a_file(name, launch, tiny_model):
    flags = ["--teacher.name_or_path", str(tiny_model)] if name.startswith("opd_") or name == "opd" else []
    history = launch("--objective", name, *flags)
    assert math.isfinite(history["train/loss"][1])
    assert ("rollout/no_contrast" in history) is (name in ("cepo", "rlcsd", "rlsd_contrast", "opsd_contrast"))
    distilled = ("opsd", "opd", "opd_topk", "sdpo", "srpo", "grpo_opsd", "sdpg")
    assert ("train/divergence" in history) is (name in distilled)


def test_the_oracle_is_refused_where_nobody_knows_which_tokens_decide(launch, capsys):
    with pytest.raises(SystemExit):
        launch("--objective", "oracle")
    assert "OracleCredit, which reads the spans ['decisive', 'false']" in " ".join(capsys.readouterr().err.split())


CONTROLS = {
    "oracle": set(),
    "gated": {"credit/evidence"},
    "rlsd_permuted": {"credit/evidence"},
    "rlsd_shifted": {"credit/evidence"},
    "rlsd_teacher_free": set(),
    "rlsd_corrupted": {"credit/evidence"},
}
"""The controls, and what a run of each logs of a teacher."""


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_trains_in_the_lab(name, tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    short = ["--trainer", "cpu", "--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "2"]
    short += ["--data.prompts_per_rollout", "3", "--data.group_size", "4", "--data.val_problems", "2"]
    short += ["--data.val_samples", "0", "--trainer.callbacks", "null", "--run_dir", str(tmp_path / "run")]
    fit(["--objective", name, *short])
    history = read_history(tmp_path / "run")
    assert {"credit/evidence"} & history.keys() == CONTROLS[name]
    assert all(math.isfinite(history["train/loss"][iteration]) for iteration in (1, 2))
    assert max(history["credit/departure"].values()) > 0, "it is not RLVR"


# --- rollouts ---------------------------------------------------------------------------------------------------------


def test_contrast_scores_are_those_of_each_rejected_prompt_alone(policy):
    collector: RolloutCollector = make(policy, o.CEPO(), contrast=RejectedSiblings(count=2))
    collected = collector.collect(PROBLEMS, 0, 0)
    batch = collected.batch
    assert batch.contrast.logprobs.shape == (12, 2, batch.completions.ids.shape[1])
    checked = 0
    for row, rollout in enumerate(collected.rollouts):
        texts = collector.scorer.contrast.alternatives(collected.groups[row // 4], row % 4)
        assert batch.contrast.exists[row].tolist() == [k < len(texts) for k in range(2)]
        for k, text in enumerate(texts):
            prompt = policy.encode(collector.scorer.contrast.messages(rollout.problem, text))
            ids = rollout.completion.token_ids
            one = policy(PaddedTokens.prompts([prompt], 0), PaddedTokens.completions([ids], 0), 1.0).logprobs[0]
            assert torch.allclose(batch.contrast.logprobs[row, k, : len(ids)], one, atol=1e-4)
            checked += 1
    assert checked
    lacking = (~batch.contrast.exists.any(dim=1)).sum().item()
    assert collected.sums["rollout/no_contrast"] == (lacking, 12.0)


def test_the_reference_is_the_initial_policy_whatever_the_policy_becomes(policy):
    reference = FrozenTeacher()
    reference.bind(policy)
    first = make(policy, o.RLVR(reference_kl=o.K3()), reference=reference).collect(PROBLEMS, 0, 0).batch
    assert torch.allclose(first.reference, first.rollout_logprobs, atol=1e-5)
    with torch.no_grad():
        next(iter(policy.trainable().values())).add_(0.1)
    later = make(policy, o.RLVR(reference_kl=o.K3()), reference=reference).collect(PROBLEMS, 0, 0).batch
    assert not torch.allclose(later.reference, later.rollout_logprobs, atol=1e-3)


@pytest.mark.parametrize("make_objective", [o.RLSD, o.RLRT, o.SDAR])
def test_completions_without_context_keep_their_advantage(policy, make_objective):
    batch = make(policy, make_objective(), context=EmptyHandedContext()).collect(PROBLEMS, 0, 0).batch
    absent = ~batch.teacher.has_context
    assert torch.equal(
        batch.token_advantages[absent], batch.advantages[absent, None].expand_as(batch.token_advantages[absent])
    )


def test_demonstrations_take_the_place_of_samples(policy):
    collected = make(policy, o.SFT()).collect(PROBLEMS, 0, 0)
    assert len(collected.rollouts) == len(PROBLEMS)
    for rollout, problem in zip(collected.rollouts, PROBLEMS, strict=True):
        assert rollout.completion.text
        assert problem.privileged["solution"].startswith(rollout.completion.text)
    assert (collected.batch.token_advantages == 1).all()
    bare = replace(PROBLEMS[0], privileged={})
    with pytest.raises(ValueError, match=r"objective\.fields"):
        demonstrate(policy, [bare], [[1]], ("solution",), Sampling(4))


# --- runs -------------------------------------------------------------------------------------------------------------


def rejected():
    """Rejected siblings in the words of the module's other context."""
    return RejectedSiblings(count=2, template=SolutionContext().template.source)


def run(model, objective, **kwargs):
    trained = module(model, objective, kwargs.pop("teacher", LiveTeacher()), contrast=rejected())
    Trainer(**{**TRAINER, "max_epochs": 1}).fit(trained, data(**kwargs))
    return weights(trained)


FAMILY = {
    "cepo": partial(o.CEPO, strength=o.Constant(1.0)),
    "rlcsd": o.RLCSD,
    "rlrt": o.RLRT,
    "sdar": o.SDAR,
    "sdpg": o.SDPG,
    "sdpo": o.SDPO,
    "grpo_opsd": o.GRPOWithOPSD,
    "sft": o.SFT,
    "gspo": partial(o.RLVR, surrogate=o.GSPO(), reduction=o.SequenceMean()),
}


@pytest.mark.parametrize("name", FAMILY)
def test_micro_batches_change_no_objective(tiny_model, name):
    objective = partial(FAMILY[name], truncation=o.KeepReward())
    whole, cut = (run(tiny_model, objective(), micro_batch_size=size) for size in (16, 3))
    assert max((whole[key] - cut[key]).abs().max().item() for key in whole) < 2e-6


def test_sft_lowers_the_cross_entropy_of_the_solutions(tiny_model):
    def loss(epochs: int) -> float:
        trained = module(tiny_model, o.SFT(), optimizer=partial(torch.optim.SGD, lr=0.5))
        trainer = Trainer(**{**TRAINER, "max_epochs": epochs})
        trainer.fit(trained, data())
        return trainer.callback_metrics["train/loss"].item()

    assert loss(4) < loss(1) - 0.2


def test_problems_without_a_demonstration_are_told_when_data_is_loaded(tiny_model):
    from rlsd_pl.errors import SetupError

    class Bare(SumTask):
        def problem(self, split, index):
            return replace(super().problem(split, index), privileged={})

    with pytest.raises(SetupError, match="no demonstration"):
        train(tiny_model, o.SFT(), task=Bare())
    train(tiny_model, o.RLVR(reference_kl=o.K3()), task=Bare(), trainer={"max_epochs": 1})


def test_a_contrast_of_wordings_is_refused_before_training(tiny_model):
    other = module(tiny_model, o.CEPO(), contrast=RejectedSiblings(count=2))
    with pytest.raises(SetupError, match=r"SolutionContext and RejectedSiblings word one text in two ways, so CEPO"):
        Trainer(**TRAINER).fit(other, data())


def test_a_penalty_beyond_the_limit_is_refused_before_training(tiny_model):
    beyond = module(tiny_model, o.RLVR(truncation=o.SoftPenalty(buffer=11)))
    with pytest.raises(ValueError, match=r"objective\.truncation\.buffer=11; expected 1 to 10"):
        Trainer(**TRAINER).fit(beyond, data())


def test_contrast_is_asked_for_before_anything_is_loaded(tiny_model):
    with pytest.raises(ValueError, match="--contrast"):
        module(tiny_model, o.CEPO())


def test_siblings_serve_as_the_teachers_context(policy):
    collected = make(policy, o.RLSD(), context=SuccessfulSibling()).collect(PROBLEMS, 0, 0)
    context = SuccessfulSibling()
    expected = [context.privileged(g, i) is not None for g in collected.groups for i in range(4)]
    assert collected.batch.teacher.has_context.tolist() == expected


def test_the_page_on_adding_an_objective_does_what_it_says(tmp_path, monkeypatch):
    """The page's file outside the repository, and its command, shortened."""
    page = (REPOSITORY / "docs" / "adding-an-objective.md").read_text()
    code, command = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "bash"))
    (tmp_path / "my_objective.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    short = [
        *("--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
        *("--data.prompts_per_rollout", "2", "--data.group_size", "4", "--data.val_problems", "2"),
        *("--data.val_samples", "0", "--trainer.callbacks", "null", "--run_dir", str(tmp_path / "run")),
    ]
    cli = fit([*shlex.split(command)[2:], *short])
    assert type(cli.model.objective).__name__ == "Agreement"
    assert cli.model.objective.damping == 0.8
    assert 0 < read_history(tmp_path / "run")["credit/agreed"][1] <= 1


def flags_of_the_table() -> list[str]:
    table = (REPOSITORY / "docs" / "objectives.md").read_text().partition("## Where sources disagree")[2]
    return [flags for flags in re.findall(r"`(--[^`]+)`", table) if " " in flags]


@pytest.mark.parametrize("flags", flags_of_the_table())
def test_flags_that_the_page_on_methods_names_are_understood(flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    objective = "opsd" if "divergence" in flags else "rlsd"
    with pytest.raises(SystemExit) as left:
        fit(["--objective", objective, *shlex.split(flags), "--print_config"])
    assert left.value.code == 0, capsys.readouterr().err
