"""Every method against its loop over plain floats; and what must change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl import objectives as o
from rlsd_pl.types import ContrastScores, Credit, Signal, TeacherScores, TokenScores
from tests.objective_loops import (
    LOOPS,
    NEED_CONTEXT,
    B,
    K,
    T,
    contrast_of,
    credited,
    hold_to_the_loop,
    hold_to_the_mean,
    hold_to_two_means,
    mixed,
    moved_scores,
    random_batch,
    teacher_of,
)

MANY = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", LOOPS)
@MANY
@given(seed=seeds)
def test_the_loss_of_each_token_is_that_of_the_loop(name: str, seed: int):
    hold_to_the_loop(o, name, seed)


@pytest.mark.parametrize("name", LOOPS)
@MANY
@given(seed=seeds)
def test_the_loss_is_a_mean_over_the_tokens_that_are_learnt_from(name: str, seed: int):
    hold_to_the_mean(o, name, seed)


@MANY
@given(seed=seeds)
def test_rlcsd_is_the_sum_of_two_means(seed: int):
    hold_to_two_means(o, seed)


def test_tokens_of_completions_without_context_do_not_shrink_the_gradient():
    """Two of four completions have a context: the gradient is that of those two alone (the official SDPO code)."""
    batch = random_batch(1)
    rows = torch.arange(4)
    shown = torch.tensor([True, False, True, False])
    batch = batch.select(rows)
    width = batch.completions.ids.shape[1]
    mask = torch.ones(4, width, dtype=torch.bool)
    distillation, teacher = batch.distillation, batch.teacher
    assert distillation is not None
    assert teacher is not None
    batch = replace(
        batch,
        loss_mask=mask,
        distillation=replace(distillation, has_context=shown),
        teacher=replace(teacher, has_context=shown),
    )
    divergence = torch.ones(4, width, dtype=torch.float64, requires_grad=True)
    objective = o.SDPO()
    ready = credited(objective, batch)
    scores = TokenScores(batch.rollout_logprobs, torch.zeros_like(batch.rollout_logprobs), divergence)
    objective.reduction(objective.loss(ready, scores).loss, ready.loss_mask).backward()
    assert divergence.grad is not None
    assert divergence.grad[[0, 2]].flatten().tolist() == pytest.approx([1 / (2 * width)] * 2 * width)
    assert not divergence.grad[[1, 3]].any()


@pytest.mark.parametrize("name", NEED_CONTEXT)
def test_a_rollout_without_any_context_has_no_loss_and_keeps_the_graph(name: str):
    nothing = torch.zeros(B, dtype=torch.bool)
    batch = random_batch(2)
    assert batch.distillation is not None
    bare = replace(
        batch,
        teacher=TeacherScores(batch.rollout_logprobs, nothing),
        distillation=replace(batch.distillation, has_context=nothing),
    )
    objective = ALL[name]
    ready, scores = credited(objective, bare), moved_scores(bare, 2)
    loss = objective.reduction(objective.loss(ready, scores).loss, ready.loss_mask)
    loss.backward()
    assert loss.item() == 0.0


def test_credit_narrows_the_loss_mask_and_never_widens_it():
    batch = random_batch(0)
    assert batch.credited(Credit(None)).loss_mask is batch.loss_mask
    everything = torch.ones_like(batch.loss_mask)
    assert torch.equal(batch.credited(Credit(None, loss_mask=everything)).loss_mask, batch.loss_mask)
    assert not batch.credited(Credit(None, loss_mask=~everything)).loss_mask.any()


# --- properties -------------------------------------------------------------------------------------------------------

PERMUTED = o.RLSD(placement=o.Permuted())
ALL = {name: make(o) for name, (make, _) in LOOPS.items()}
ALL |= {"rlcsd": mixed(o), "opd": o.OPD(), "rlsd-permuted": PERMUTED}
CONTROLS = ["rlsd-permuted", "rlsd-shifted", "teacher-free", "gated"]
SIGN_KEEPING = ["rlvr", "rlsd", "rlsd-one-sided", "rlsd-negative-only", "rlsd-contrast", "cepo", "rlrt", "rlrt-all"]
SIGN_KEEPING += ["rlcsd", *CONTROLS]


@pytest.mark.parametrize("name", SIGN_KEEPING)
@MANY
@given(seed=seeds)
def test_the_verifier_keeps_the_direction(name: str, seed: int):
    batch = credited(ALL[name], random_batch(seed))
    assert batch.token_advantages is not None
    assert (batch.token_advantages * batch.advantages[:, None] >= 0).all()
    assert (batch.token_advantages[0] == 0).all(), "A = 0 gives 0"


@pytest.mark.parametrize(
    ("name", "epsilon", "strength"),
    [
        ("rlsd", 0.2, 0.5),
        ("rlsd-contrast", 0.2, 0.5),
        ("cepo", 0.5, 0.5),
        ("rlrt-all", 1.0, 0.5),
        *((name, 0.2, 0.5) for name in CONTROLS[:3]),
    ],
)
@MANY
@given(seed=seeds)
def test_token_credit_stays_inside_its_clip(name: str, epsilon: float, strength: float, seed: int):
    batch = credited(ALL[name], random_batch(seed))
    assert batch.token_advantages is not None
    factor = (batch.token_advantages / batch.advantages[:, None])[1:]
    assert (factor >= 1 - strength * epsilon - 1e-9).all()
    assert (factor <= 1 + strength * epsilon + 1e-9).all()


@pytest.mark.parametrize("name", ALL)
@MANY
@given(seed=seeds, order=st.permutations(range(B)))
def test_a_permutation_of_completions_permutes_credit_and_loss(name: str, seed: int, order: list[int]):
    objective, batch = ALL[name], random_batch(seed)
    rows = torch.tensor(order)
    straight, shuffled = credited(objective, batch), credited(objective, batch.select(rows))
    scores = moved_scores(batch, seed)
    width = shuffled.completions.ids.shape[1]
    permuted = TokenScores(*(value[rows][:, :width] for value in scores if value is not None))
    loss = objective.loss(straight, scores).loss[rows][:, :width]
    mask = shuffled.loss_mask
    torch.testing.assert_close(objective.loss(shuffled, permuted).loss[mask], loss[mask], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
@MANY
@given(seed=seeds, size=st.integers(1, B))
def test_micro_batches_add_up_to_the_whole(name: str, seed: int, size: int):
    objective = ALL[name]
    batch = credited(objective, random_batch(seed))
    scores = moved_scores(batch, seed)
    whole = objective.reduction(objective.loss(batch, scores).loss, batch.loss_mask, 1.0)
    parts = torch.zeros((), dtype=torch.float64)
    for rows in torch.arange(B).split(size):
        part = batch.select(rows)
        width = part.completions.ids.shape[1]
        cut = TokenScores(*(value[rows][:, :width] for value in scores if value is not None))
        parts = parts + objective.reduction(objective.loss(part, cut).loss, part.loss_mask, 1.0)
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
@MANY
@given(seed=seeds)
def test_what_stands_in_the_padding_has_no_say(name: str, seed: int):
    objective, batch = ALL[name], random_batch(seed)
    padding = ~batch.completions.mask

    def soiled(tensor: torch.Tensor | None) -> torch.Tensor:
        assert tensor is not None
        return tensor.masked_fill(padding if tensor.dim() == 2 else padding[:, None], -7.5)

    dirty = replace(
        batch,
        rollout_logprobs=soiled(batch.rollout_logprobs),
        teacher=replace(teacher_of(batch), logprobs=soiled(teacher_of(batch).logprobs)),
        contrast=replace(contrast_of(batch), logprobs=soiled(contrast_of(batch).logprobs)),
        reference=soiled(batch.reference),
    )
    clean_scores = moved_scores(batch, seed)
    dirty_scores = TokenScores(*(soiled(value) for value in clean_scores))
    losses = []
    for rollouts, scores in ((batch, clean_scores), (dirty, dirty_scores)):
        done = credited(objective, rollouts)
        losses.append(objective.reduction(objective.loss(done, scores).loss, done.loss_mask))
    assert torch.equal(losses[0], losses[1])


@pytest.mark.parametrize("name", ALL)
def test_gradient_flows_through_the_student_alone(name: str):
    batch = random_batch(3)
    teacher, contrast = teacher_of(batch), contrast_of(batch)
    given = (teacher.logprobs, contrast.logprobs, batch.reference, batch.advantages, batch.rollout_logprobs)
    leaves = [value.clone().requires_grad_() for value in given if value is not None]
    watched = replace(
        batch,
        teacher=replace(teacher, logprobs=leaves[0]),
        contrast=replace(contrast, logprobs=leaves[1]),
        reference=leaves[2],
        advantages=leaves[3],
        rollout_logprobs=leaves[4],
    )
    objective = ALL[name]
    ready = credited(objective, watched)
    scores = moved_scores(batch, 3)
    objective.loss(ready, scores).loss[ready.loss_mask].sum().backward()
    assert [leaf.grad for leaf in leaves] == [None] * 5
    used = scores.divergence if objective.needs.divergence is not None else scores.logprobs
    assert used is not None
    assert used.grad is not None
    assert used.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("sdar", "sdpo")])
def test_the_gradient_is_that_of_the_loss(name: str):
    """gradcheck; SDAR's gate and SDPO's importance are stop-gradients, which differences cannot see."""
    objective = ALL[name]
    batch = credited(objective, random_batch(11))
    scores = moved_scores(batch, 11)

    def loss(logprobs: torch.Tensor, divergence: torch.Tensor) -> torch.Tensor:
        return objective.loss(batch, TokenScores(logprobs, scores.entropy, divergence)).loss[batch.loss_mask]

    assert torch.autograd.gradcheck(loss, (scores.logprobs, scores.divergence))


@MANY
@given(seed=seeds)
def test_stop_gradients_are_factors(seed: int):
    batch = random_batch(seed)
    scores, teacher = moved_scores(batch, seed), teacher_of(batch)
    sdar = o.SDAR(coefficient=0.3)
    sdar.loss(replace(batch, token_advantages=torch.zeros(B, T)), scores).loss.sum().backward()
    gate = torch.sigmoid(5 * (teacher.logprobs - scores.logprobs)) * teacher.has_context[:, None]
    torch.testing.assert_close(scores.logprobs.grad, -0.3 * gate.detach())
    scores = moved_scores(batch, seed)
    o.SDPO().loss(credited(o.SDPO(), batch), scores).loss.sum().backward()
    factor = (scores.logprobs - batch.rollout_logprobs).exp().clamp(max=2.0) * teacher.has_context[:, None]
    torch.testing.assert_close(scores.divergence.grad, factor.detach())
    assert scores.logprobs.grad is None


@pytest.mark.parametrize("name", [name for name in SIGN_KEEPING if name not in ("rlcsd", "teacher-free", "gated")])
@MANY
@given(seed=seeds)
def test_a_teacher_that_says_the_same_leaves_rlvr(name: str, seed: int):
    batch = random_batch(seed)
    same = batch.rollout_logprobs
    agreeing = replace(
        batch,
        teacher=replace(teacher_of(batch), logprobs=same),
        contrast=ContrastScores(same[:, None].expand(B, K, T), contrast_of(batch).exists),
    )
    got = credited(ALL[name], agreeing).token_advantages
    torch.testing.assert_close(got, credited(o.RLVR(), batch).token_advantages, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "objective",
    [
        o.RLSD(strength=o.Constant(0.0)),
        o.CEPO(strength=o.Constant(0.0)),
        o.ContrastRLSD(strength=o.Constant(0.0)),
        o.SRPO(correct_reward=0.0),
        o.RLRT(strength=o.Constant(0.0)),
        o.TeacherFreeRLSD(strength=o.Constant(0.0)),
        o.RLSD(strength=o.Constant(0.0), placement=o.Permuted()),
        o.SDAR(coefficient=0.0),
        o.GRPOWithOPSD(o.Constant(0.0)),
        o.SDPG(o.Constant(0.0), reference_kl=o.K2(0.0)),
    ],
    ids=lambda objective: type(objective).__name__,
)
@MANY
@given(seed=seeds)
def test_strength_zero_has_the_loss_of_rlvr_bit_for_bit(objective: o.Objective, seed: int):
    batch = random_batch(seed)
    scores = moved_scores(batch, seed)
    got = objective.loss(credited(objective, batch), scores).loss
    assert torch.equal(got, o.RLVR().loss(credited(o.RLVR(), batch), scores).loss)


@MANY
@given(seed=seeds, floor=st.sampled_from([0.0, 0.25, 1.0]))
def test_gated_credit_of_an_agreeing_teacher_is_its_floor_bit_for_bit(seed: int, floor: float):
    batch = random_batch(seed)
    agreeing = replace(batch, teacher=replace(teacher_of(batch), logprobs=batch.rollout_logprobs))
    got = o.EvidenceGated(floor).credit(agreeing, 0).token_advantages
    rewarded = o.RLVR().credit(batch, 0).token_advantages
    assert rewarded is not None
    assert torch.equal(got, rewarded * floor)


@MANY
@given(seed=seeds)
def test_gated_credit_lies_between_its_floor_and_one_more(seed: int):
    batch = random_batch(seed)
    credit = o.EvidenceGated(0.25).credit(batch, 0)
    assert credit.token_advantages is not None
    factor = (credit.token_advantages / batch.advantages[:, None])[1:]
    assert (factor >= 0.25 - 1e-12).all()
    assert (factor < 1.25).all()
    # Without evidence for the update a token has the floor, whatever the evidence against it.
    against = (batch.advantages.sign()[:, None] * (teacher_of(batch).logprobs - batch.rollout_logprobs))[1:] <= 0
    torch.testing.assert_close(factor[against], torch.full_like(factor[against], 0.25))


@MANY
@given(seed=seeds, iteration=st.integers(0, 30))
def test_permuted_evidence_keeps_the_credits_of_each_completion_and_moves_them(seed: int, iteration: int):
    batch = random_batch(seed)
    straight, permuted = (m.credit(batch, iteration).token_advantages for m in (o.RLSD(), PERMUTED))
    assert straight is not None
    assert permuted is not None
    for row in range(B):
        learnt = batch.loss_mask[row]
        assert sorted(permuted[row, learnt].tolist()) == sorted(straight[row, learnt].tolist())
        assert torch.equal(permuted[row, ~learnt], straight[row, ~learnt])


def test_placements_move_evidence_inside_of_the_span_alone():
    batch = random_batch(4)
    span = torch.zeros(B, T, dtype=torch.bool)
    span[:, 1:3] = True
    marked = replace(batch, span=span, loss_mask=torch.ones_like(batch.loss_mask))
    delta = teacher_of(batch).logprobs - batch.rollout_logprobs
    got = o.RLSD(span="x", placement=o.Shifted()).placed_evidence(marked, 0)
    assert torch.equal(got[:, [1, 2]], delta[:, [2, 1]])
    assert not got[:, [0, 3]].any()


@MANY
@given(seed=seeds)
def test_importance_weights_fall_from_the_largest_to_what_the_last_token_leaves(seed: int):
    batch = random_batch(seed)
    delta = teacher_of(batch).logprobs - batch.rollout_logprobs
    weights = o.IWOPD(max_weight=3.0).weights(delta, batch.completions.mask)
    torch.testing.assert_close(weights[:, 0], torch.full((B,), 3.0, dtype=torch.float64))
    assert (weights.diff(dim=1) <= 1e-12).all()
    assert (weights >= 1).all()
    scores = moved_scores(batch, seed)
    plain, one = (m.loss(credited(m, batch), scores).loss for m in (o.OPDSampled(), o.IWOPD(max_weight=1.0)))
    assert torch.equal(one, plain)


@MANY
@given(seed=seeds)
def test_srpo_sends_each_completion_one_way_and_keeps_the_weight_of_distillation(seed: int):
    batch = random_batch(seed)
    credit = o.SRPO(correct_reward=0.5).credit(batch, 0)
    assert credit.token_advantages is not None
    assert credit.distribution_weights is not None
    distilled = teacher_of(batch).has_context & (batch.rewards < 0.5)
    assert not credit.token_advantages[distilled].any()
    assert not credit.distribution_weights[~distilled].any()
    assert credit.metrics == {"distilled": pytest.approx(distilled.double().mean().item())}
    tokens = credit.distribution_weights[batch.loss_mask & distilled[:, None]]
    if len(tokens):
        assert tokens.mean().item() == pytest.approx(1.0), "as much as an unweighted mean"
    flat = o.SRPO(beta=0.0, correct_reward=0.5).credit(batch, 0).distribution_weights
    assert torch.equal(flat, distilled[:, None].expand(B, T).double())


def test_a_batch_without_context_is_rlvr_under_srpo():
    batch = random_batch(6)
    bare = replace(batch, teacher=replace(teacher_of(batch), has_context=torch.zeros(B, dtype=torch.bool)))
    scores = moved_scores(batch, 6)
    losses = [m.loss(credited(m, bare), scores).loss for m in (o.SRPO(correct_reward=0.5), o.RLVR())]
    assert torch.equal(*losses)


def test_a_schedule_reaches_the_distribution_term():
    schedule = o.LinearDecay(initial=0.4, iterations=4, warmup=2)
    batch = random_batch(5)
    has_context = teacher_of(batch).has_context
    for iteration in range(7):
        credit = o.GRPOWithOPSD(schedule).credit(batch, iteration)
        assert credit.metrics["strength"] == schedule(iteration)
        assert torch.equal(credit.distribution_weights, schedule(iteration) * has_context.float())


def test_objectives_ask_for_what_they_use():
    needs = {
        "rlvr": Signal.NONE,
        "rlsd": Signal.TEACHER,
        "cepo": Signal.TEACHER | Signal.CONTRAST,
        "rlcsd": Signal.TEACHER | Signal.CONTRAST,
        "sdpg": Signal.DISTRIBUTION | Signal.REFERENCE,
        "sdar": Signal.TEACHER,
        "srpo": Signal.TEACHER | Signal.DISTRIBUTION,
        "rlsd-contrast": Signal.TEACHER | Signal.CONTRAST,
        "opsd-contrast": Signal.TEACHER | Signal.CONTRAST,
        "opsd": Signal.DISTRIBUTION,
        "sft": Signal.NONE,
        "rlsd-permuted": Signal.TEACHER,
        "teacher-free": Signal.NONE,
        "gated": Signal.TEACHER,
    }
    assert {name: ALL[name].needs.signals for name in needs} == needs
