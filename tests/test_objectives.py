"""What each method makes of a rollout, and of its loss, and how it degenerates."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from rlsd_pl import objectives as o
from rlsd_pl.types import (
    ContrastScores,
    DistillationPrompts,
    PaddedTokens,
    RolloutBatch,
    Signal,
    TeacherScores,
    TokenScores,
)
from tests.conftest import REPOSITORY

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
        teacher=TeacherScores(logprobs(B, T) * mask, torch.ones(B, dtype=torch.bool)),
        contrast=ContrastScores(logprobs(B, K, T) * mask[:, None], torch.ones(B, K, dtype=torch.bool)),
        distillation=DistillationPrompts(tokens, torch.ones(B, dtype=torch.bool)),
        reference=logprobs(B, T) * mask,
        entropy=-logprobs(B, T) * mask,
    )
    return replace(batch, **changes)


def without(batch: RolloutBatch, lacking: str, rows: slice) -> RolloutBatch:
    """The batch in which some rows have no context, or no rejected sibling."""
    if lacking == "contrast":
        exists = batch.contrast.exists.clone()
        exists[rows] = False
        return replace(batch, contrast=replace(batch.contrast, exists=exists))
    shown = batch.teacher.has_context.clone()
    shown[rows] = False
    return replace(
        batch,
        teacher=replace(batch.teacher, has_context=shown),
        distillation=replace(batch.distillation, has_context=shown),
    )


def scores_of(batch: RolloutBatch, divergence: torch.Tensor | None = None) -> TokenScores:
    logprobs = batch.rollout_logprobs.clone().requires_grad_()
    return TokenScores(logprobs, torch.zeros_like(logprobs), divergence)


def credit(objective: o.Objective, batch: RolloutBatch) -> torch.Tensor:
    token_advantages = objective.credit(batch, 0).token_advantages
    assert token_advantages is not None
    return token_advantages


def rlvr(batch: RolloutBatch) -> torch.Tensor:
    return batch.advantages[:, None].expand(B, T)


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
    agreeing = replace(
        batch,
        teacher=replace(batch.teacher, logprobs=same),
        contrast=replace(batch.contrast, logprobs=same[:, None].expand(B, K, T)),
    )
    assert torch.allclose(credit(make_objective(), agreeing), rlvr(batch), atol=1e-6)


@pytest.mark.parametrize(
    "make_objective", [partial(o.RLSD, strength=o.Constant(0.0)), partial(o.CEPO, strength=o.Constant(0.0))]
)
def test_strength_zero_is_rlvr_bit_for_bit(make_objective):
    assert torch.equal(credit(make_objective(), batch_of()), rlvr(batch_of()))


@pytest.mark.parametrize("lacking", ["contrast", "context"])
def test_cepo_without_contrast_is_rlvr_bit_for_bit(lacking):
    batch = batch_of()
    assert torch.equal(credit(o.CEPO(), without(batch, lacking, slice(None))), rlvr(batch))


@pytest.mark.parametrize("lacking", ["contrast", "context"])
def test_rlcsd_leaves_out_and_counts_what_it_cannot_contrast(lacking):
    batch = batch_of()
    result = o.RLCSD().credit(without(batch, lacking, slice(2)), 0)
    assert not result.loss_mask[:2].any()
    assert torch.equal(result.loss_mask[2:], batch.loss_mask[2:])
    assert result.metrics["left_out"] == pytest.approx(2 / B)
    whole = credit(o.RLCSD(), batch.select(torch.arange(2, B)))
    kept = batch.loss_mask[2:]
    assert torch.allclose(result.token_advantages[2:][kept], whole[kept])
    nothing = o.RLCSD().credit(without(batch, lacking, slice(None)), 0)
    assert not nothing.loss_mask.any()
    assert (nothing.token_advantages == 0).all()


@pytest.mark.parametrize(
    ("weighting", "share"),
    [
        (o.TwoSided(), 5 / 6),
        (o.OneSided(), 2 / 6),
        (o.NegativeOnly(), 3 / 6),
        (o.ReversedOnCorrect(), 2 / 6),
        (o.ReversedOnAll(), 5 / 6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_clip_fraction_is_that_of_the_weighting(weighting, share):
    """Six tokens: three of a right answer, three of a wrong one; all but one lie beyond the two-sided clip."""
    delta = torch.tensor([[0.5, 0.1, -0.5], [0.5, -0.5, -0.5]])
    ones = torch.ones(2, 3, dtype=torch.bool)
    batch = RolloutBatch(
        prompts=PaddedTokens(ones.long(), ones),
        completions=PaddedTokens(ones.long(), ones),
        rollout_logprobs=torch.full((2, 3), -1.0),
        rewards=torch.tensor([1.0, 0.0]),
        advantages=torch.tensor([1.0, -1.0]),
        loss_mask=ones,
        teacher=TeacherScores(delta - 1, torch.ones(2, dtype=torch.bool)),
    )
    metrics = o.RLSD(weighting=weighting).credit(batch, 0).metrics
    assert metrics["clip_fraction"] == pytest.approx(share)
    assert metrics["strength"] == 0.5


def test_rlrt_reverses_rlsd_on_correct_completions_alone():
    batch = batch_of()
    swapped = replace(
        batch,
        teacher=replace(batch.teacher, logprobs=batch.rollout_logprobs),
        rollout_logprobs=batch.teacher.logprobs,
    )
    reversed_credit = credit(o.RLRT(epsilon_w=0.4), batch)
    expected = credit(o.RLSD(epsilon_w=0.4, strength=o.Constant(0.5)), swapped)
    correct = batch.advantages > 0
    assert torch.allclose(reversed_credit[correct], expected[correct])
    assert torch.equal(reversed_credit[~correct], rlvr(batch)[~correct])


def test_rlcsd_is_a_mean_over_the_moved_tokens_plus_one_over_the_others():
    batch = batch_of()
    objective = o.RLCSD(selected_weight=2.0, strength=o.Constant(0.3))
    mean = batch.contrast.logprobs.exp().mean(dim=1).log()
    bonus = 0.3 * torch.tanh((batch.teacher.logprobs - mean) / 0.02)
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
        assert torch.equal(credit(objective, batch), batch.teacher.logprobs - batch.rollout_logprobs)


@pytest.mark.parametrize("make_objective", [o.OPD, o.OPDSampled, o.OPSD, o.OPSDSampled, o.SDPO, o.RLCSD])
def test_completions_without_context_are_not_counted(make_objective):
    batch = without(batch_of(), "context", slice(0, 2))
    learnt = make_objective().credit(batch, 0).loss_mask
    assert learnt.sum(dim=1).tolist() == [0, 0, 4, 5, 1, 2]


@pytest.mark.parametrize("make_objective", [o.RLVR, o.RLSD, o.CEPO, o.RLRT, o.SDAR, o.SDPG, o.GRPOWithOPSD])
def test_methods_with_a_reward_term_learn_from_every_completion(make_objective):
    batch = without(batch_of(), "context", slice(0, 2))
    assert make_objective().credit(batch, 0).loss_mask is None


def test_sdar_reports_its_gate_where_there_is_a_context():
    batch = without(batch_of(), "context", slice(0, 5))
    delta = (batch.teacher.logprobs - batch.rollout_logprobs)[5, :2].tolist()
    expected = sum(1 / (1 + math.exp(-5 * d)) for d in delta) / 2
    assert o.SDAR().credit(batch, 0).metrics["gate"] == pytest.approx(expected, rel=1e-5)


def test_the_surrogate_of_rlcsd_is_clipped_alike_on_both_sides():
    assert o.RLCSD().surrogate == o.PPOClip(0.2, 0.2)
    assert o.RLCSD(surrogate=o.PPOClip()).surrogate == o.PPOClip(0.2, 0.28)


# --- loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_context", [True, False])
def test_the_distribution_term_leaves_out_rows_without_context(has_context):
    shown = torch.tensor([True, has_context] * 3)
    batch = batch_of()
    batch = replace(batch, distillation=replace(batch.distillation, has_context=shown))
    batch = batch.credited(o.GRPOWithOPSD(o.Constant(1.0)).credit(batch, 0))
    loss = o.GRPOWithOPSD().loss(replace(batch, token_advantages=None), scores_of(batch, torch.ones(B, T))).loss
    assert loss[:, 0].tolist() == [1.0, float(has_context)] * 3


def test_sdpg_distils_on_positive_advantages_alone():
    batch = batch_of(token_advantages=torch.zeros(B, T))
    objective = o.SDPG(o.Constant(0.25), reference_kl=o.K3(coefficient=0.0))
    weights = objective.credit(batch, 0).distribution_weights[:, None].expand(B, T)
    loss = objective.loss(replace(batch, distribution_weights=weights), scores_of(batch, torch.ones(B, T))).loss
    assert torch.equal(loss[:, 0], 0.25 * (batch.advantages > 0).float())


def test_grpo_with_opsd_of_weight_zero_has_the_loss_of_rlvr():
    batch = batch_of()
    mixture = o.GRPOWithOPSD(o.Constant(0.0))
    weights = mixture.credit(batch, 0).distribution_weights[:, None].expand(B, T)
    batch = replace(batch, token_advantages=credit(mixture, batch), distribution_weights=weights)
    mixed = mixture.loss(batch, scores_of(batch, torch.ones(B, T)))
    plain = o.RLVR().loss(replace(batch, distribution_weights=None), scores_of(batch))
    assert torch.equal(mixed.loss, plain.loss)


@pytest.mark.parametrize("part", [o.K1(), o.K2(), o.K3()])
def test_a_reference_asks_for_its_log_probs_and_pulls_through_the_policy_alone(part):
    objective = o.RLVR(reference_kl=part)
    assert Signal.REFERENCE in objective.needs.signals
    assert Signal.REFERENCE not in o.RLVR().needs.signals
    reference = batch_of().reference.clone().requires_grad_()
    batch = batch_of(reference=reference, token_advantages=torch.zeros(B, T))
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


def test_the_importance_correction_holds_for_what_sdar_distils_too():
    batch = batch_of(token_advantages=torch.zeros(B, T))
    teacher = TeacherScores(batch.rollout_logprobs - 1.0, torch.ones(B, dtype=torch.bool))
    batch = replace(batch, teacher=teacher)
    scores = TokenScores(batch.rollout_logprobs + math.log(0.8), torch.zeros(B, T))
    plain, corrected = (
        x.loss(batch, scores).loss for x in (o.SDAR(1.0), o.SDAR(1.0, importance=o.TruncatedImportance(2.0)))
    )
    assert plain.abs().min() > 0
    assert torch.allclose(corrected, 0.8 * plain)


def test_srpo_divides_by_the_mean_over_all_processes(monkeypatch):
    own = []
    monkeypatch.setattr("rlsd_pl.objectives.srpo.global_means", lambda sums: own.append(sums) or {"certainty": 0.5})
    weights = o.SRPO(beta=1.0).weights(torch.tensor([[math.log(2), math.log(4)]]), torch.tensor([[True, False]]))
    assert own == [{"certainty": (pytest.approx(0.5), 1.0)}]
    assert torch.allclose(weights, torch.tensor([[1.0, 0.5]]))


@pytest.mark.parametrize("method", [o.OPSD, o.SDPO, o.OPD, o.OPSDSampled, o.IWOPD, o.SFT])
def test_a_method_without_a_reward_refuses_an_advantage(method):
    with pytest.raises(ValueError, match=rf"objective\.advantage=LeaveOneOut, which does nothing in {method.__name__}"):
        method(advantage=o.LeaveOneOut())
    method()


def test_a_divergence_alone_refuses_a_surrogate():
    with pytest.raises(ValueError, match=r"objective\.surrogate=GSPO, which does nothing in OPSD"):
        o.OPSD(surrogate=o.GSPO())
    assert isinstance(o.OPSDSampled(surrogate=o.GSPO()).surrogate, o.GSPO)


def test_rlcsd_refuses_what_its_two_means_cannot_be():
    with pytest.raises(ValueError, match=r"objective\.temperature=0\.0; expected a number above 0"):
        o.RLCSD(temperature=0.0)
    with pytest.raises(ValueError, match=r"objective\.reduction=SequenceMean"):
        o.RLCSD(reduction=o.SequenceMean())


def test_the_fraction_of_clipped_ratios_is_reported():
    batch = batch_of(token_advantages=rlvr(batch_of()), off_policy=True)
    scores = TokenScores(batch.rollout_logprobs + math.log(1.5), torch.zeros(B, T))
    clipped = o.RLVR().loss(batch, scores).diagnostics["ratio_clip_fraction"]
    assert clipped[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    assert "ratio_clip_fraction" not in o.RLVR(surrogate=o.CISPO()).loss(batch, scores).diagnostics


def test_an_entropy_bonus_asks_for_a_gradient_and_lowers_the_loss():
    batch = batch_of(token_advantages=torch.zeros(B, T))
    scores = scores_of(batch)._replace(entropy=torch.full((B, T), 2.0))
    assert (o.RLVR(entropy_bonus=0.1).loss(batch, scores).loss == -0.2).all()
    assert o.RLVR(entropy_bonus=0.1).needs.entropy_gradient
    assert not o.RLVR().needs.entropy_gradient


def test_a_signal_that_was_not_asked_for_is_named():
    bare = replace(batch_of(), teacher=None)
    with pytest.raises(LookupError, match=r"no TEACHER signal.* Signal\.TEACHER"):
        o.RLSD().credit(bare, 0)


# --- docs/adding-an-objective.md --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the Python of the page defines."""
    text = (REPOSITORY / "docs" / "adding-an-objective.md").read_text()
    defined: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, defined)
    return defined


def test_the_pages_objective_damps_tokens_that_the_teacher_finds_less_likely(page):
    batch = batch_of()
    objective = page["Agreement"](damping=0.25)
    assert objective.needs.signals == Signal.TEACHER
    token_advantages = credit(objective, batch)
    for b in range(B):
        for t in range(T):
            less = batch.teacher.logprobs[b, t] < batch.rollout_logprobs[b, t]
            assert token_advantages[b, t].item() == pytest.approx(batch.advantages[b].item() * (0.75 if less else 1.0))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_pages_high_entropy_tokens_are_those_of_a_sorted_rollout(page, share, seed):
    batch = batch_of(seed)
    objective = page["HighEntropyTokens"](share=share)
    assert objective.needs.signals == Signal.ENTROPY
    result = objective.credit(batch, 0)
    found = [(batch.entropy[b, t].item(), b, t) for b in range(B) for t in range(T) if batch.loss_mask[b, t]]
    count = max(1, round(share * len(found)))
    highest = {(b, t) for _, b, t in sorted(found, reverse=True)[:count]}
    for _, b, t in found:
        expected = batch.advantages[b].item() if (b, t) in highest else 0.0
        assert result.token_advantages[b, t].item() == expected
    assert result.loss_mask is None, "the other tokens still count in the divisor"
    assert result.metrics["entropy_threshold"] == min(entropy for entropy, b, t in found if (b, t) in highest)


def test_high_entropy_tokens_of_a_rollout_that_teaches_nothing(page):
    batch = batch_of(loss_mask=torch.zeros(B, T, dtype=torch.bool))
    assert not page["HighEntropyTokens"]().credit(batch, 0).token_advantages.any()


def test_the_parts_of_the_page_work_alone(page):
    assert page["loss"].item() == pytest.approx(-(1.1 + 1.0 - 0.9 - 1.0) / 4)
    assert page["clipped"].tolist() == [[True, False], [True, False]]
