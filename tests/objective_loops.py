"""Random rollouts, and every method written as a loop over plain floats from its formula.

The batches are random: completions of different lengths, some without a context, some without siblings, advantages of
both signs and 0, policies that have moved since the rollout. Methods are made from a module of objectives, so that
copies of it with an edit can be held to the same loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlsd_pl.objectives import Objective
from rlsd_pl.types import (
    ContrastScores,
    DistillationPrompts,
    PaddedTokens,
    RolloutBatch,
    Signal,
    TeacherScores,
    TokenScores,
    present,
)

B, T, K = 6, 4, 3


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
    judged = coin(B)
    judged[0] = True
    # Drawn apart, so that further signals leave the others as they are.
    unsure = 2 * torch.rand((B, T), generator=torch.Generator().manual_seed(seed + 2), dtype=torch.float64)
    batch = RolloutBatch(
        prompts=tokens,
        completions=tokens,
        rollout_logprobs=student,
        rewards=uniform(B),
        advantages=advantages,
        loss_mask=mask & judged[:, None],
        off_policy=True,
        teacher=TeacherScores(teacher, has_context, unsure * (mask & has_context[:, None])),
        contrast=ContrastScores(-3 * uniform(B, K, T) * mask[:, None], coin(B, K)),
        distillation=DistillationPrompts(tokens, has_context),
        reference=-3 * uniform(B, T) * mask,
        entropy=2 * uniform(B, T) * mask,
    )
    return replace(batch, **changes)


def teacher_of(batch: RolloutBatch) -> TeacherScores:
    return present(batch.teacher, Signal.TEACHER)


def contrast_of(batch: RolloutBatch) -> ContrastScores:
    return present(batch.contrast, Signal.CONTRAST)


def credited(objective: Objective, batch: RolloutBatch, iteration: int = 0) -> RolloutBatch:
    return batch.credited(objective.credit(batch, iteration))


def moved_scores(batch: RolloutBatch, seed: int) -> TokenScores:
    """What the policy says after some updates; a divergence that somebody measured; both with gradient."""
    draw = torch.Generator().manual_seed(seed + 1)
    shift = 0.8 * torch.rand((B, T), generator=draw, dtype=torch.float64) - 0.4
    logprobs = (batch.rollout_logprobs + shift).requires_grad_()
    divergence = torch.rand((B, T), generator=draw, dtype=torch.float64).requires_grad_()
    return TokenScores(logprobs, torch.zeros(B, T, dtype=torch.float64), divergence)


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def sign(x: float) -> float:
    return (x > 0) - (x < 0)


def weighted(a: float, delta: float, strength: float, epsilon: float) -> float:
    return a * ((1 - strength) + strength * clip(math.exp(sign(a) * delta), 1 - epsilon, 1 + epsilon))


class Row:
    """One token of one completion, in floats."""

    def __init__(self, batch: RolloutBatch, scores: TokenScores, b: int, t: int) -> None:
        teacher, contrast = teacher_of(batch), contrast_of(batch)
        self.a = batch.advantages[b].item()
        self.old = batch.rollout_logprobs[b, t].item()
        self.now = scores.logprobs[b, t].item()
        self.teacher = teacher.logprobs[b, t].item()
        self.context = bool(teacher.has_context[b])
        self.reference = present(batch.reference, Signal.REFERENCE)[b, t].item()
        self.divergence = present(scores.divergence, Signal.DISTRIBUTION)[b, t].item()
        length, around = int(batch.completions.mask[b].sum()), t if not batch.loss_mask[b].any() else t - 1
        before = around % length if t < length else t
        self.delta_before = (teacher.logprobs[b, before] - batch.rollout_logprobs[b, before]).item()
        apart = (teacher.logprobs[b, :length] - batch.rollout_logprobs[b, :length]).abs().tolist()
        self.passed = sum(apart[:t]) / sum(apart) if sum(apart) else 0.0
        self.reward = batch.rewards[b].item()
        self.unsure = present(teacher.entropy, Signal.TEACHER)[b, t].item()
        certain = [
            math.exp(-unsure)
            for row, unsure_tokens in enumerate(present(teacher.entropy, Signal.TEACHER).tolist())
            for place, unsure in enumerate(unsure_tokens)
            if batch.loss_mask[row, place] and teacher.has_context[row] and batch.rewards[row] < 0.5
        ]
        self.mean_certainty = sum(certain) / len(certain) if certain else 1.0
        self.wrong = [contrast.logprobs[b, k, t].item() for k in range(K) if bool(contrast.exists[b, k])]

    @property
    def delta(self) -> float:
        return self.teacher - self.old

    @property
    def contrast(self) -> float:
        if not (self.context and self.wrong):
            return 0.0
        return self.teacher - math.log(sum(map(math.exp, self.wrong)) / len(self.wrong))

    def clipped_surrogate(self, advantage: float, high: float = 0.28) -> float:
        ratio = math.exp(self.now - self.old)
        return -min(ratio * advantage, clip(ratio, 0.8, 1 + high) * advantage)


def one_sided(x: Row) -> float:
    weight = math.exp(sign(x.a) * x.delta)
    return 0.5 * x.a + 0.5 * min(weight * x.a, clip(weight, 0.8, 1.2) * x.a)


def gated(x: Row) -> float:
    return x.context * 0.3 / (1 + math.exp(-5 * (x.teacher - x.now))) * (x.teacher - x.now)


def gated_credit(x: Row) -> float:
    return x.a * (0.1 + 1 - math.exp(-max(sign(x.a) * x.delta, 0.0)))


def srpo(x: Row) -> float:
    """A completion with a reward of .5 and more is correct here."""
    if x.context and x.reward < 0.5:
        return math.exp(-x.unsure) / x.mean_certainty * x.divergence
    return x.clipped_surrogate(x.a)


Make = Callable[[Any], Objective]
"""A method, from a module with the names of :mod:`rlsd_pl.objectives`."""

LOOPS: dict[str, tuple[Make, Callable[[Row], float]]] = {
    "rlvr": (lambda o: o.RLVR(), lambda x: x.clipped_surrogate(x.a)),
    "rlsd": (lambda o: o.RLSD(), lambda x: x.clipped_surrogate(weighted(x.a, x.delta, 0.5, 0.2))),
    "rlsd-one-sided": (lambda o: o.RLSD(weighting=o.OneSided()), lambda x: x.clipped_surrogate(one_sided(x))),
    "rlsd-negative-only": (
        lambda o: o.RLSD(weighting=o.NegativeOnly()),
        lambda x: x.clipped_surrogate(weighted(x.a, x.delta, 0.5, 0.2) if x.a < 0 else x.a),
    ),
    "cepo": (lambda o: o.CEPO(), lambda x: x.clipped_surrogate(weighted(x.a, x.contrast, 0.5, 0.5))),
    "rlrt": (
        lambda o: o.RLRT(),
        lambda x: x.clipped_surrogate(weighted(x.a, -x.delta, 0.5, 1.0) if x.a > 0 else x.a),
    ),
    "rlrt-all": (
        lambda o: o.RLRT(weighting=o.ReversedOnAll()),
        lambda x: x.clipped_surrogate(weighted(x.a, -x.delta, 0.5, 1.0)),
    ),
    "sdar": (lambda o: o.SDAR(coefficient=0.3), lambda x: x.clipped_surrogate(x.a) + gated(x)),
    "sdpg": (
        lambda o: o.SDPG(o.Constant(0.7), reference_kl=o.K2(0.2)),
        lambda x: (
            x.clipped_surrogate(x.a)
            + 0.7 * x.divergence * (x.a > 0 and x.context)
            + 0.2 * (x.now - x.reference) ** 2 / 2
        ),
    ),
    "grpo-opsd": (lambda o: o.GRPOWithOPSD(), lambda x: x.clipped_surrogate(x.a) + 0.1 * x.divergence * x.context),
    "opsd": (lambda o: o.OPSD(), lambda x: x.divergence * x.context),
    "iw-opd": (lambda o: o.IWOPD(), lambda x: x.clipped_surrogate((1 + 0.5 * (1 - x.passed)) * x.delta)),
    "opsd-sampled": (lambda o: o.OPSDSampled(), lambda x: x.clipped_surrogate(x.delta)),
    "sdpo": (lambda o: o.SDPO(), lambda x: min(math.exp(x.now - x.old), 2.0) * x.divergence * x.context),
    "sft": (lambda o: o.SFT(), lambda x: -x.now),
    "rlsd-shifted": (
        lambda o: o.RLSD(placement=o.Shifted()),
        lambda x: x.clipped_surrogate(weighted(x.a, x.delta_before, 0.5, 0.2)),
    ),
    "teacher-free": (lambda o: o.TeacherFreeRLSD(), lambda x: x.clipped_surrogate(weighted(x.a, -x.old, 0.5, 0.2))),
    "srpo": (lambda o: o.SRPO(correct_reward=0.5), srpo),
    "rlsd-contrast": (lambda o: o.ContrastRLSD(), lambda x: x.clipped_surrogate(weighted(x.a, x.contrast, 0.5, 0.2))),
    "opsd-contrast": (lambda o: o.ContrastOPSD(), lambda x: x.clipped_surrogate(x.contrast)),
    "gated": (lambda o: o.EvidenceGated(floor=0.1), lambda x: x.clipped_surrogate(gated_credit(x))),
}

NEED_CONTEXT = ["opsd", "opsd-sampled", "iw-opd", "sdpo", "opsd-contrast"]
"""Methods that leave completions without a context out of the update."""

NEED_CONTRAST = ["opsd-contrast"]
"""Of these, the ones that leave out completions without a wrong context too."""


def mixed(o: Any) -> Any:
    """RLCSD with a temperature and a threshold at which random evidence selects some tokens and not others."""
    return o.RLCSD(temperature=2.0, threshold=0.15, selected_weight=0.7)


def hold_to_the_loop(o: Any, name: str, seed: int) -> None:
    """Every token's loss is that of the loop."""
    make, loop = LOOPS[name]
    objective = make(o)
    batch = credited(objective, random_batch(seed))
    scores = moved_scores(batch, seed)
    loss = objective.loss(batch, scores).loss
    for b in range(B):
        for t in range(T):
            if batch.completions.mask[b, t]:
                assert loss[b, t].item() == pytest.approx(loop(Row(batch, scores, b, t)), rel=1e-6, abs=1e-7)


def hold_to_the_mean(o: Any, name: str, seed: int) -> None:
    """The reduced loss is the mean of the loop over the tokens that are learnt from, and over no others."""
    make, loop = LOOPS[name]
    objective, batch = make(o), random_batch(seed)
    scores = moved_scores(batch, seed)
    rows = [Row(batch, scores, b, t) for b in range(B) for t in range(T) if batch.loss_mask[b, t]]
    rows = [row for row in rows if row.context or name not in NEED_CONTEXT]
    terms = [loop(row) for row in rows if row.wrong or name not in NEED_CONTRAST]
    ready = credited(objective, batch)
    loss = objective.reduction(objective.loss(ready, scores).loss, ready.loss_mask)
    assert loss.item() == pytest.approx(sum(terms) / len(terms) if terms else 0.0, rel=1e-6, abs=1e-7)


def hold_to_two_means(o: Any, seed: int) -> None:
    """RLCSD's loss is a mean over the other tokens plus one over the selected ones."""
    objective, batch = mixed(o), random_batch(seed)
    scores = moved_scores(batch, seed)
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for b in range(B):
        for t in range(T):
            x = Row(batch, scores, b, t)
            if not (batch.loss_mask[b, t] and x.context and x.wrong):
                continue
            bonus = 0.5 * math.tanh(x.contrast / 2.0)
            moved = x.a + bonus
            kept = max(moved, 0.0) if x.a > 0 else min(moved, 0.0) if x.a < 0 else 0.0
            is_selected = abs(bonus) > 0.15
            kinds[is_selected].append(x.clipped_surrogate(kept if is_selected else x.a, high=0.2))
    weights = {True: 0.7, False: 1.0}
    expected = sum(weights[kind] * sum(terms) / len(terms) for kind, terms in kinds.items() if terms)
    ready = credited(objective, batch)
    loss = objective.reduction(objective.loss(ready, scores).loss, ready.loss_mask)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
