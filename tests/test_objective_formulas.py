"""Every method against loops over plain floats, written from its formula; and what must change nothing.

The batches are random: completions of different lengths, some without a context, some without siblings, advantages of
both signs and 0, policies that have moved since the rollout.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl import functional as F
from rlsd_pl import objectives as o
from rlsd_pl.types import PaddedTokens, RolloutBatch, Signal, TokenScores

B, T, K = 6, 4, 3
MANY = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_batch(seed: int, **changes: Any) -> RolloutBatch:
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=draw, dtype=torch.float64)

    def coin(*shape: int) -> torch.Tensor:
        return uniform(*shape) < 0.7

    lengths = torch.randint(1, T + 1, (B, 1), generator=draw)
    mask = torch.arange(T)[None] < lengths
    advantages = 4 * uniform(B) - 2
    advantages[0] = 0.0
    student = -3 * uniform(B, T) * mask
    has_context = coin(B)
    teacher = torch.where(has_context[:, None], -3 * uniform(B, T) * mask, student)
    tokens = PaddedTokens(torch.ones(B, T, dtype=torch.long), mask)
    batch = RolloutBatch(
        prompts=tokens,
        completions=tokens,
        rollout_logprobs=student,
        rewards=uniform(B),
        advantages=advantages,
        loss_mask=mask & coin(B)[:, None] if mask[coin(B)].any() else mask,
        off_policy=True,
        teacher_logprobs=teacher,
        has_context=has_context,
        contrast_logprobs=-3 * uniform(B, K, T) * mask[:, None],
        contrast_mask=coin(B, K),
        reference_logprobs=-3 * uniform(B, T) * mask,
        teacher_prompts=tokens,
    )
    return replace(batch, **changes)


def credited(objective: o.Objective, batch: RolloutBatch, iteration: int = 0) -> RolloutBatch:
    credit = objective.credit(batch, iteration)
    return replace(batch, token_advantages=credit.token_advantages, distribution_weights=credit.distribution_weights)


def moved_scores(batch: RolloutBatch, seed: int) -> TokenScores:
    """What the policy says after some updates; a divergence that somebody measured; both with gradient."""
    draw = torch.Generator().manual_seed(seed + 1)
    shift = 0.8 * torch.rand((B, T), generator=draw, dtype=torch.float64) - 0.4
    logprobs = (batch.rollout_logprobs + shift).requires_grad_()
    divergence = torch.rand((B, T), generator=draw, dtype=torch.float64).requires_grad_()
    return TokenScores(logprobs, torch.zeros(B, T, dtype=torch.float64), divergence)


# --- the loops --------------------------------------------------------------------------------------------------------


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def sign(x: float) -> float:
    return (x > 0) - (x < 0)


def weighted(a: float, delta: float, strength: float, epsilon: float) -> float:
    return a * ((1 - strength) + strength * clip(math.exp(sign(a) * delta), 1 - epsilon, 1 + epsilon))


class Row:
    """One token of one completion, in floats."""

    def __init__(self, batch: RolloutBatch, scores: TokenScores, b: int, t: int) -> None:
        assert batch.teacher_logprobs is not None
        assert batch.has_context is not None
        assert batch.contrast_logprobs is not None
        assert batch.contrast_mask is not None
        assert batch.reference_logprobs is not None
        assert scores.divergence is not None
        self.a = batch.advantages[b].item()
        self.old = batch.rollout_logprobs[b, t].item()
        self.now = scores.logprobs[b, t].item()
        self.teacher = batch.teacher_logprobs[b, t].item()
        self.context = bool(batch.has_context[b])
        self.reference = batch.reference_logprobs[b, t].item()
        self.divergence = scores.divergence[b, t].item()
        self.wrong = [batch.contrast_logprobs[b, k, t].item() for k in range(K) if bool(batch.contrast_mask[b, k])]

    @property
    def delta(self) -> float:
        return self.teacher - self.old

    @property
    def contrast(self) -> float:
        if not (self.context and self.wrong):
            return 0.0
        return self.teacher - math.log(sum(map(math.exp, self.wrong)) / len(self.wrong))

    def clipped_surrogate(self, advantage: float) -> float:
        ratio = math.exp(self.now - self.old)
        return -min(ratio * advantage, clip(ratio, 0.8, 1.28) * advantage)


LOOPS = {
    "rlvr": (o.RLVR(), lambda x: x.clipped_surrogate(x.a)),
    "rlsd": (o.RLSD(), lambda x: x.clipped_surrogate(weighted(x.a, x.delta, 0.5, 0.2))),
    "rlsd-one-sided": (
        o.RLSD(weighting=o.OneSided()),
        lambda x: x.clipped_surrogate(
            0.5 * x.a
            + 0.5 * min(math.exp(sign(x.a) * x.delta) * x.a, clip(math.exp(sign(x.a) * x.delta), 0.8, 1.2) * x.a)
        ),
    ),
    "rlsd-negative-only": (
        o.RLSD(weighting=o.NegativeOnly()),
        lambda x: x.clipped_surrogate(weighted(x.a, x.delta, 0.5, 0.2) if x.a < 0 else x.a),
    ),
    "cepo": (o.CEPO(), lambda x: x.clipped_surrogate(weighted(x.a, x.contrast, 0.5, 0.5))),
    "rlrt": (
        o.RLRT(),
        lambda x: x.clipped_surrogate(weighted(x.a, -x.delta, 0.5, 1.0) if x.a > 0 else x.a),
    ),
    "rlrt-all": (
        o.RLRT(weighting=o.ReversedOnAll()),
        lambda x: x.clipped_surrogate(weighted(x.a, -x.delta, 0.5, 1.0)),
    ),
    "sdar": (
        o.SDAR(coefficient=0.3),
        lambda x: (
            x.clipped_surrogate(x.a) + x.context * 0.3 / (1 + math.exp(-5 * (x.teacher - x.now))) * (x.teacher - x.now)
        ),
    ),
    "sdpg": (
        o.SDPG(o.Constant(0.7), reference_kl=o.K2(0.2)),
        lambda x: (
            x.clipped_surrogate(x.a)
            + 0.7 * x.divergence * (x.a > 0 and x.context)
            + 0.2 * (x.now - x.reference) ** 2 / 2
        ),
    ),
    "grpo-opsd": (o.GRPOWithOPSD(), lambda x: x.clipped_surrogate(x.a) + 0.1 * x.divergence * x.context),
    "opsd": (o.OPSD(), lambda x: x.divergence * x.context),
    "opsd-sampled": (o.OPSDSampled(), lambda x: x.clipped_surrogate(x.delta)),
    "sdpo": (o.SDPO(), lambda x: min(math.exp(x.now - x.old), 2.0) * x.divergence * x.context),
    "sft": (o.SFT(), lambda x: -x.now),
}


MIXED = o.RLCSD(temperature=2.0, threshold=0.15, selected_weight=0.7)
"""Temperature and threshold at which random evidence selects some tokens and not others."""


def rlcsd_loop(batch: RolloutBatch, scores: TokenScores) -> float:
    """Sum of two means, times the number of tokens: what a token-mean over all of them makes of it."""
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for b in range(B):
        for t in range(T):
            x = Row(batch, scores, b, t)
            if not (batch.loss_mask[b, t] and x.context and x.wrong):
                continue
            bonus = 0.5 * math.tanh(x.contrast / MIXED.temperature)
            moved = x.a + bonus
            kept = max(moved, 0.0) if x.a > 0 else min(moved, 0.0) if x.a < 0 else 0.0
            is_selected = abs(bonus) > MIXED.threshold
            kinds[is_selected].append(x.clipped_surrogate(kept if is_selected else x.a))
    weights = {True: MIXED.selected_weight, False: 1.0}
    return sum(weights[kind] * sum(terms) / len(terms) for kind, terms in kinds.items() if terms)


@pytest.mark.parametrize("name", LOOPS)
@MANY
@given(seed=seeds)
def test_the_loss_of_each_token_is_that_of_the_loop(name: str, seed: int):
    objective, loop = LOOPS[name]
    batch = credited(objective, random_batch(seed))
    scores = moved_scores(batch, seed)
    loss = objective.loss(batch, scores).loss
    for b in range(B):
        for t in range(T):
            if batch.completions.mask[b, t]:
                assert loss[b, t].item() == pytest.approx(loop(Row(batch, scores, b, t)), rel=1e-6, abs=1e-7)


@MANY
@given(seed=seeds)
def test_rlcsd_is_the_sum_of_two_means(seed: int):
    batch = credited(MIXED, random_batch(seed))
    scores = moved_scores(batch, seed)
    loss = MIXED.loss(batch, scores).loss[batch.loss_mask].mean().item()
    assert loss == pytest.approx(rlcsd_loop(batch, scores), rel=1e-5, abs=1e-6)


# --- properties -------------------------------------------------------------------------------------------------------

ALL = {name: objective for name, (objective, _) in LOOPS.items()} | {"rlcsd": MIXED, "opd": o.OPD()}
SIGN_KEEPING = ["rlvr", "rlsd", "rlsd-one-sided", "rlsd-negative-only", "cepo", "rlrt", "rlrt-all", "rlcsd"]


@pytest.mark.parametrize("name", SIGN_KEEPING)
@MANY
@given(seed=seeds)
def test_the_verifier_keeps_the_direction(name: str, seed: int):
    batch = credited(ALL[name], random_batch(seed))
    assert batch.token_advantages is not None
    assert (batch.token_advantages * batch.advantages[:, None] >= 0).all()
    assert (batch.token_advantages[0] == 0).all(), "A = 0 gives 0"


@pytest.mark.parametrize(
    ("name", "epsilon", "strength"), [("rlsd", 0.2, 0.5), ("cepo", 0.5, 0.5), ("rlrt-all", 1.0, 0.5)]
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
    weights = objective.reduction.weights(batch.loss_mask)
    whole = F.reduce(objective.loss(batch, scores).loss, weights, 1.0)
    parts = torch.zeros((), dtype=torch.float64)
    for rows in torch.arange(B).split(size):
        part = batch.select(rows)
        width = part.completions.ids.shape[1]
        cut = TokenScores(*(value[rows][:, :width] for value in scores if value is not None))
        parts = parts + F.reduce(objective.loss(part, cut).loss, objective.reduction.weights(part.loss_mask), 1.0)
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

    names = ("rollout_logprobs", "teacher_logprobs", "contrast_logprobs", "reference_logprobs")
    dirty = replace(batch, **{field: soiled(getattr(batch, field)) for field in names})
    clean_scores = moved_scores(batch, seed)
    dirty_scores = TokenScores(*(soiled(value) for value in clean_scores))
    losses = []
    for rollouts, scores in ((batch, clean_scores), (dirty, dirty_scores)):
        done = credited(objective, rollouts)
        losses.append(F.reduce(objective.loss(done, scores).loss, objective.reduction.weights(done.loss_mask), 1.0))
    assert torch.equal(losses[0], losses[1])


@pytest.mark.parametrize("name", ALL)
def test_gradient_flows_through_the_student_alone(name: str):
    batch = random_batch(3)
    leaves = {
        field: getattr(batch, field).clone().requires_grad_()
        for field in ("rollout_logprobs", "teacher_logprobs", "contrast_logprobs", "reference_logprobs", "advantages")
    }
    objective = ALL[name]
    ready = credited(objective, replace(batch, **leaves))
    scores = moved_scores(batch, 3)
    objective.loss(ready, scores).loss[batch.loss_mask].sum().backward()
    assert all(leaf.grad is None for field, leaf in leaves.items() if field != "rollout_logprobs")
    used = scores.divergence if objective.divergence is not None else scores.logprobs
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
    scores = moved_scores(batch, seed)
    assert batch.teacher_logprobs is not None
    assert batch.has_context is not None
    sdar = o.SDAR(coefficient=0.3)
    sdar.loss(replace(batch, token_advantages=torch.zeros(B, T)), scores).loss.sum().backward()
    gate = torch.sigmoid(5 * (batch.teacher_logprobs - scores.logprobs)) * batch.has_context[:, None]
    torch.testing.assert_close(scores.logprobs.grad, -0.3 * gate.detach())
    scores = moved_scores(batch, seed)
    o.SDPO().loss(credited(o.SDPO(), batch), scores).loss.sum().backward()
    factor = (scores.logprobs - batch.rollout_logprobs).exp().clamp(max=2.0) * batch.has_context[:, None]
    torch.testing.assert_close(scores.divergence.grad, factor.detach())
    assert scores.logprobs.grad is None


@pytest.mark.parametrize("name", ["rlsd", "rlsd-one-sided", "rlsd-negative-only", "cepo", "rlrt", "rlrt-all"])
@MANY
@given(seed=seeds)
def test_a_teacher_that_says_the_same_leaves_rlvr(name: str, seed: int):
    batch = random_batch(seed)
    same = batch.rollout_logprobs
    agreeing = replace(batch, teacher_logprobs=same, contrast_logprobs=same[:, None].expand(B, K, T))
    got = credited(ALL[name], agreeing).token_advantages
    torch.testing.assert_close(got, credited(o.RLVR(), batch).token_advantages, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "objective",
    [
        o.RLSD(strength=o.Constant(0.0)),
        o.CEPO(strength=o.Constant(0.0)),
        o.RLRT(strength=o.Constant(0.0)),
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


def test_a_schedule_reaches_the_distribution_term():
    schedule = o.LinearDecay(initial=0.4, iterations=4, warmup=2)
    batch = random_batch(5)
    assert batch.has_context is not None
    for iteration in range(7):
        credit = o.GRPOWithOPSD(schedule).credit(batch, iteration)
        assert credit.metrics["lambda"] == schedule(iteration)
        assert torch.equal(credit.distribution_weights, schedule(iteration) * batch.has_context.float())


def test_objectives_ask_for_what_they_use():
    needs = {
        "rlvr": Signal.NONE,
        "rlsd": Signal.TEACHER_LOGPROBS,
        "cepo": Signal.TEACHER_LOGPROBS | Signal.CONTRAST_LOGPROBS,
        "rlcsd": Signal.TEACHER_LOGPROBS | Signal.CONTRAST_LOGPROBS,
        "sdpg": Signal.TEACHER_DISTRIBUTION | Signal.REFERENCE_LOGPROBS,
        "sdar": Signal.TEACHER_LOGPROBS,
        "opsd": Signal.TEACHER_DISTRIBUTION,
        "sft": Signal.NONE,
    }
    assert {name: ALL[name].signals for name in needs} == needs
