"""Each objective is its formula, trains from its preset, and degenerates as its docstring says."""

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
from rlsd_pl.contexts import RejectedSiblings, SuccessfulSibling
from rlsd_pl.engines import demonstrate
from rlsd_pl.rollout.collector import RolloutCollector
from rlsd_pl.teachers import FrozenTeacher, LiveTeacher
from rlsd_pl.types import PaddedTokens, RolloutBatch, Sampling, Signal, TokenScores
from tests.conftest import REPOSITORY
from tests.harness import TRAINER, data, module, train, weights
from tests.test_rollouts import PROBLEMS, EmptyHandedContext, make
from tests.worlds import SumTask

B, T, K = 6, 5, 2
WEIGHTED = [
    partial(o.RLSD, strength=o.Constant(0.7)),
    partial(o.RLSD, strength=o.Constant(0.7), weighting=o.OneSided()),
    partial(o.RLSD, strength=o.Constant(0.7), weighting=o.NegativeOnly()),
    partial(o.CEPO, strength=o.Constant(0.7)),
    o.RLRT,
    partial(o.RLRT, weighting=o.ReversedOnAll()),
    o.RLCSD,
]
NAMES = ["rlsd", "one-sided", "negative-only", "cepo", "rlrt", "rlrt-all", "rlcsd"]


def batch_of(seed: int = 0, **changes) -> RolloutBatch:
    draw = torch.Generator().manual_seed(seed)

    def logprobs(*shape: int):
        return -3 * torch.rand(shape, generator=draw)

    mask = torch.arange(T)[None] < torch.tensor([5, 3, 4, 5, 1, 2])[:, None]
    tokens = PaddedTokens(torch.ones(B, T, dtype=torch.long), mask)
    batch = RolloutBatch(
        prompts=tokens,
        completions=tokens,
        rollout_logprobs=logprobs(B, T) * mask,
        rewards=torch.zeros(B),
        advantages=torch.tensor([1.0, -1.0, 0.0, 0.5, -2.0, 0.2]),
        loss_mask=mask,
        teacher_logprobs=logprobs(B, T) * mask,
        has_context=torch.ones(B, dtype=torch.bool),
        contrast_logprobs=logprobs(B, K, T) * mask[:, None],
        contrast_mask=torch.ones(B, K, dtype=torch.bool),
        reference_logprobs=logprobs(B, T) * mask,
    )
    return replace(batch, **changes)


def scores_of(batch: RolloutBatch, divergence: torch.Tensor | None = None) -> TokenScores:
    logprobs = batch.rollout_logprobs.clone().requires_grad_()
    return TokenScores(logprobs, torch.zeros_like(logprobs), divergence)


def credit(objective: o.Objective, batch: RolloutBatch) -> torch.Tensor:
    token_advantages = objective.credit(batch, 0).token_advantages
    assert token_advantages is not None
    return token_advantages


def rlvr(batch: RolloutBatch) -> torch.Tensor:
    return batch.advantages[:, None].expand(B, T)


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


@pytest.mark.parametrize("name", available("objective"))
def test_every_preset_trains_a_model_on_a_file(name, launch, tiny_model):
    flags = ["--teacher.name_or_path", str(tiny_model)] if name.startswith("opd_") or name == "opd" else []
    history = launch("--objective", name, *flags)
    assert math.isfinite(history["train/loss"][1])
    assert ("rollout/no_contrast" in history) is (name in ("cepo", "rlcsd"))
    assert ("train/divergence" in history) is (name in ("opsd", "opd", "opd_topk", "sdpo", "grpo_opsd", "sdpg"))


# --- credit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_objective", WEIGHTED, ids=NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_evidence_never_turns_the_sign_of_the_advantage(make_objective, seed):
    batch = batch_of(seed)
    token_advantages = credit(make_objective(), batch)
    assert (token_advantages * batch.advantages[:, None] >= 0).all()
    assert (token_advantages[2] == 0).all()
    assert not torch.equal(token_advantages, rlvr(batch))


@pytest.mark.parametrize("make_objective", WEIGHTED[:-1], ids=NAMES[:-1])
def test_a_teacher_that_agrees_leaves_plain_rlvr(make_objective):
    batch = batch_of()
    same = batch.rollout_logprobs
    agreeing = replace(batch, teacher_logprobs=same, contrast_logprobs=same[:, None].expand(B, K, T))
    assert torch.allclose(credit(make_objective(), agreeing), rlvr(batch), atol=1e-6)


@pytest.mark.parametrize(
    "make_objective", [partial(o.RLSD, strength=o.Constant(0.0)), partial(o.CEPO, strength=o.Constant(0.0))]
)
def test_strength_zero_is_rlvr_bit_for_bit(make_objective):
    assert torch.equal(credit(make_objective(), batch_of()), rlvr(batch_of()))


@pytest.mark.parametrize("lacking", ["contrast_mask", "has_context"])
def test_cepo_without_contrast_is_rlvr_bit_for_bit(lacking):
    batch = batch_of()
    bare = replace(batch, **{lacking: torch.zeros_like(getattr(batch, lacking))})
    assert torch.equal(credit(o.CEPO(), bare), rlvr(batch))


@pytest.mark.parametrize("lacking", ["contrast_mask", "has_context"])
def test_rlcsd_leaves_out_and_counts_what_it_cannot_contrast(lacking):
    batch = batch_of()
    absent = getattr(batch, lacking).clone()
    absent[:2] = False
    result = o.RLCSD().credit(replace(batch, **{lacking: absent}), 0)
    assert (result.token_advantages[:2] == 0).all()
    assert result.metrics["left_out"] == pytest.approx(2 / B)
    whole = credit(o.RLCSD(), batch.select(torch.arange(2, B)))
    share = batch.loss_mask[2:].sum() / batch.loss_mask.sum()
    kept = batch.loss_mask[2:]
    assert torch.allclose(result.token_advantages[2:][kept] * share, whole[kept])
    nothing = o.RLCSD().credit(replace(batch, **{lacking: torch.zeros_like(absent)}), 0)
    assert (nothing.token_advantages == 0).all()


def test_rlrt_reverses_rlsd_on_correct_completions_alone():
    batch = batch_of()
    swapped = replace(batch, teacher_logprobs=batch.rollout_logprobs, rollout_logprobs=batch.teacher_logprobs)
    reversed_credit = credit(o.RLRT(epsilon_w=0.4), batch)
    expected = credit(o.RLSD(epsilon_w=0.4, strength=o.Constant(0.5)), swapped)
    correct = batch.advantages > 0
    assert torch.allclose(reversed_credit[correct], expected[correct])
    assert torch.equal(reversed_credit[~correct], rlvr(batch)[~correct])


def test_rlcsd_is_a_mean_over_the_moved_tokens_plus_one_over_the_others():
    batch = batch_of()
    objective = o.RLCSD(selected_weight=2.0, strength=o.Constant(0.3))
    mean = batch.contrast_logprobs.exp().mean(dim=1).log()
    bonus = 0.3 * torch.tanh((batch.teacher_logprobs - mean) / 0.02)
    moved, others = [], []
    for row in range(B):
        for t in range(T):
            if not batch.loss_mask[row, t]:
                continue
            a, rho = batch.advantages[row].item(), bonus[row, t].item()
            if abs(rho) > 0.02:
                moved.append(max(a + rho, 0.0) if a > 0 else min(a + rho, 0.0) if a < 0 else 0.0)
            else:
                others.append(a)
    assert moved
    expected = 2.0 * sum(moved) / len(moved) + (sum(others) / len(others) if others else 0.0)
    token_advantages = credit(objective, batch)
    assert token_advantages[batch.loss_mask].mean().item() == pytest.approx(expected, rel=1e-4)


def test_sampled_distillation_ignores_the_reward():
    batch = batch_of()
    for objective in (o.OPDSampled(), o.OPSDSampled()):
        assert torch.equal(credit(objective, batch), batch.teacher_logprobs - batch.rollout_logprobs)


# --- loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_context", [True, False])
def test_the_distribution_term_leaves_out_rows_without_context(has_context):
    batch = batch_of(has_context=torch.tensor([True, has_context] * 3))
    batch = replace(batch, distribution_weights=o.OPSD().credit(batch, 0).distribution_weights)
    loss = o.OPSD().loss(batch, scores_of(batch, torch.ones(B, T))).loss
    assert loss[:, 0].tolist() == [1.0, float(has_context)] * 3


def test_sdpg_distils_on_positive_advantages_alone():
    batch = batch_of(token_advantages=torch.zeros(B, T))
    objective = o.SDPG(o.Constant(0.25), reference_kl=o.K3(coefficient=0.0))
    batch = replace(batch, distribution_weights=objective.credit(batch, 0).distribution_weights)
    loss = objective.loss(batch, scores_of(batch, torch.ones(B, T))).loss
    assert torch.equal(loss[:, 0], 0.25 * (batch.advantages > 0).float())


def test_grpo_with_opsd_of_weight_zero_has_the_loss_of_rlvr():
    batch = batch_of()
    mixture = o.GRPOWithOPSD(o.Constant(0.0))
    weights = mixture.credit(batch, 0).distribution_weights
    batch = replace(batch, token_advantages=credit(mixture, batch), distribution_weights=weights)
    mixed = mixture.loss(batch, scores_of(batch, torch.ones(B, T)))
    plain = o.RLVR().loss(replace(batch, distribution_weights=None), scores_of(batch))
    assert torch.equal(mixed.loss, plain.loss)


@pytest.mark.parametrize("part", [o.K1(), o.K2(), o.K3()])
def test_a_reference_asks_for_its_log_probs_and_pulls_through_the_policy_alone(part):
    objective = o.RLVR(reference_kl=part)
    assert Signal.REFERENCE_LOGPROBS in objective.signals
    assert Signal.REFERENCE_LOGPROBS not in o.RLVR().signals
    reference = batch_of().reference_logprobs.clone().requires_grad_()
    batch = batch_of(reference_logprobs=reference, token_advantages=torch.zeros(B, T))
    scores = scores_of(batch)
    loss = objective.loss(batch, scores).loss
    assert torch.allclose(loss, 1e-3 * part(batch.rollout_logprobs, reference))
    loss.sum().backward()
    assert reference.grad is None
    assert scores.logprobs.grad.abs().sum() > 0


@pytest.mark.parametrize("off_policy", [False, True])
def test_the_importance_correction_is_capped_and_never_applied_twice(off_policy):
    batch = batch_of(token_advantages=torch.ones(B, T), off_policy=off_policy)
    scores = TokenScores(batch.rollout_logprobs + math.log(1.1), torch.zeros(B, T))
    scores.logprobs[0] += math.log(10)
    plain, corrected = (x.loss(batch, scores).loss for x in (o.RLVR(), o.RLVR(importance=o.TruncatedImportance(2.0))))
    factor = torch.full((B, T), 1.1)
    factor[0] = 2.0
    assert torch.allclose(corrected, plain if off_policy else factor * plain)


@pytest.mark.parametrize("surrogate", [o.PPOClip(), o.DualClip(), o.GSPO(), o.CISPO(), o.Reinforce()])
def test_every_surrogate_has_the_policy_gradient_on_policy(surrogate):
    batch = batch_of(token_advantages=rlvr(batch_of()))
    scores = scores_of(batch)
    o.RLVR(surrogate=surrogate).loss(batch, scores).loss.sum().backward()
    expected = -rlvr(batch) * torch.ones(B, T)
    kept = batch.loss_mask
    gradient = scores.logprobs.grad
    assert torch.allclose(gradient[kept], expected[kept], atol=1e-6)


def test_dual_clip_bounds_the_loss_of_bad_tokens():
    logprobs, old = torch.zeros(1, 1), torch.full((1, 1), -3.0)
    bad, mask = -torch.ones(1, 1), torch.ones(1, 1)
    assert o.DualClip(dual_clip=3.0)(logprobs, old, bad, mask).item() == 3.0
    assert o.PPOClip()(logprobs, old, bad, mask).item() == pytest.approx(math.exp(3))


@pytest.mark.parametrize("part", [o.TopKTail(beta=1.0, k=4), o.TopKRenormalized(beta=1.0, k=4)])
def test_top_k_terms_are_the_full_divergence_at_k_of_the_vocabulary(part):
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    assert torch.allclose(part(student, teacher), o.GeneralizedJSD(beta=1.0)(student, teacher), atol=1e-6)
    assert not torch.allclose(replace(part, k=2)(student, teacher), part(student, teacher))


def test_schedules_warm_up_hold_and_decay():
    cosine = o.CosineDecay(initial=1.0, final=0.0, iterations=4, warmup=2, hold=1)
    assert [round(cosine(i), 4) for i in range(9)] == [0.0, 0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    assert [o.Constant(2.0, warmup=2)(i) for i in range(4)] == [0.0, 1.0, 2.0, 2.0]


# --- rollouts ---------------------------------------------------------------------------------------------------------


def test_contrast_scores_are_those_of_each_rejected_prompt_alone(policy):
    collector: RolloutCollector = make(policy, o.CEPO(), contrast=RejectedSiblings(count=2))
    collected = collector.collect(PROBLEMS, 0, 0)
    batch = collected.batch
    assert batch.contrast_logprobs.shape == (12, 2, batch.completions.ids.shape[1])
    checked = 0
    for row, rollout in enumerate(collected.rollouts):
        texts = collector.scorer.contrast.alternatives(collected.groups[row // 4], row % 4)
        assert batch.contrast_mask[row].tolist() == [k < len(texts) for k in range(2)]
        for k, text in enumerate(texts):
            prompt = policy.encode(collector.scorer.contrast.messages(rollout.problem, text))
            ids = rollout.completion.token_ids
            one = policy(PaddedTokens.prompts([prompt], 0), PaddedTokens.completions([ids], 0), 1.0).logprobs[0]
            assert torch.allclose(batch.contrast_logprobs[row, k, : len(ids)], one, atol=1e-4)
            checked += 1
    assert checked
    lacking = (~batch.contrast_mask.any(dim=1)).sum().item()
    assert collected.sums["rollout/no_contrast"] == (lacking, 12.0)


def test_the_reference_is_the_initial_policy_whatever_the_policy_becomes(policy):
    reference = FrozenTeacher()
    reference.bind(policy)
    first = make(policy, o.RLVR(reference_kl=o.K3()), reference=reference).collect(PROBLEMS, 0, 0).batch
    assert torch.allclose(first.reference_logprobs, first.rollout_logprobs, atol=1e-5)
    with torch.no_grad():
        next(iter(policy.trainable().values())).add_(0.1)
    later = make(policy, o.RLVR(reference_kl=o.K3()), reference=reference).collect(PROBLEMS, 0, 0).batch
    assert not torch.allclose(later.reference_logprobs, later.rollout_logprobs, atol=1e-3)


@pytest.mark.parametrize("make_objective", [o.RLSD, o.RLRT, o.SDAR])
def test_completions_without_context_keep_their_advantage(policy, make_objective):
    batch = make(policy, make_objective(), context=EmptyHandedContext()).collect(PROBLEMS, 0, 0).batch
    without = ~batch.has_context
    assert torch.equal(
        batch.token_advantages[without], batch.advantages[without, None].expand_as(batch.token_advantages[without])
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


def run(model, objective, **kwargs):
    trained = module(model, objective, kwargs.pop("teacher", LiveTeacher()), contrast=RejectedSiblings(count=2))
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


def test_contrast_is_asked_for_before_anything_is_loaded(tiny_model):
    with pytest.raises(ValueError, match="--contrast"):
        module(tiny_model, o.CEPO())


def test_siblings_serve_as_the_teachers_context(policy):
    collected = make(policy, o.RLSD(), context=SuccessfulSibling()).collect(PROBLEMS, 0, 0)
    context = SuccessfulSibling()
    expected = [context.privileged(g, i) is not None for g in collected.groups for i in range(4)]
    assert collected.batch.has_context.tolist() == expected


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
