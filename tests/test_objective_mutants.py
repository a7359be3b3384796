"""Would the loops notice a wrong method? Each mutant is a fresh copy of the package with one edit in one method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from rlsd_pl import objectives
from rlsd_pl.types import RolloutBatch, Signal, TokenScores
from tests.mutations import Mutant, close, modules_of, mutants, objectives_with, survivors
from tests.objective_loops import (
    LOOPS,
    B,
    T,
    contrast_of,
    credited,
    hold_to_the_loop,
    hold_to_the_mean,
    hold_to_two_means,
    moved_scores,
    random_batch,
    teacher_of,
)

SEEDS = range(4)


def check_loops(o: ModuleType, names: Sequence[str]) -> None:
    for seed in SEEDS:
        for name in names:
            hold_to_the_loop(o, name, seed)
            hold_to_the_mean(o, name, seed)


def on_policy(batch: RolloutBatch) -> RolloutBatch:
    return replace(batch, off_policy=False, token_advantages=batch.advantages[:, None].expand(B, T))


def check_base(o: ModuleType) -> None:
    """Beside the loops, which are off-policy: what a first update is, and what is reported and asked for."""
    batch, scores = on_policy(random_batch(0)), moved_scores(random_batch(0), 0)
    column = batch.advantages[:, None].expand(B, T)
    on, off = o.RLVR().loss(batch, scores), o.RLVR().loss(replace(batch, off_policy=True), scores)
    close(on.loss, -column)
    assert not on.diagnostics["ratio_clip_fraction"].any()
    assert off.diagnostics["ratio_clip_fraction"].any()
    factor = (scores.logprobs - batch.rollout_logprobs).exp().clamp(max=1.1).detach()
    close(o.RLVR(importance=o.TruncatedImportance(1.1)).loss(batch, scores).loss, -factor * column)
    entropy = scores._replace(entropy=torch.full((B, T), 2.0))
    close(o.RLVR(entropy_bonus=0.1).loss(batch, entropy).loss, -column - 0.2)
    assert o.RLVR(entropy_bonus=0.1).needs.entropy_gradient
    assert o.RLVR(reference_kl=o.K2()).needs.signals == Signal.REFERENCE
    assert o.RLVR().needs == o.Needs()
    alone = replace(batch, token_advantages=None)
    close(o.RLVR(reference_kl=o.K1(1.0)).loss(alone, scores).loss, (scores.logprobs - batch.reference).detach())
    unknown = TokenScores(scores.logprobs, scores.entropy, torch.full((B, T), math.nan, dtype=torch.float64))
    nothing = replace(batch, distribution_weights=torch.zeros(B, T, dtype=torch.float64))
    assert o.GRPOWithOPSD().loss(nothing, unknown).loss.isfinite().all()


def check_rlsd(o: ModuleType) -> None:
    batch = random_batch(0)
    span = torch.zeros(B, T, dtype=torch.bool)
    span[:, 0] = True
    credit = o.RLSD(span="x").credit(replace(batch, span=span), 0)
    outside = credit.token_advantages[:, 1:]
    assert torch.equal(outside, batch.advantages[:, None].expand_as(outside))
    assert not torch.equal(credit.token_advantages[:, 0], batch.advantages)
    assert credit.metrics.get("span") == pytest.approx(
        (batch.loss_mask.any(dim=1).sum() / batch.loss_mask.sum()).item()
    )
    delta = teacher_of(batch).logprobs - batch.rollout_logprobs
    signed = (batch.advantages.sign()[:, None] * delta)[batch.loss_mask]
    beyond = [not math.log(0.8) <= value <= math.log(1.2) for value in signed.tolist()]
    metrics = o.RLSD().credit(batch, 0).metrics
    assert metrics["clip_fraction"] == pytest.approx(sum(beyond) / len(beyond))
    assert (metrics["strength"], o.RLSD().credit(batch, 50).metrics["strength"]) == (0.5, 0.0)
    assert o.RLSD(span="x").needs.span is not None
    with pytest.raises(ValueError, match="epsilon_w"):
        o.RLSD(epsilon_w=-0.1)


def check_evidence(o: ModuleType) -> None:
    """Beside what RLSD is held to: a span with a placement, and what is reported of the span."""
    check_rlsd(o)
    batch = random_batch(4)
    span = torch.zeros(B, T, dtype=torch.bool)
    span[:, 1:3] = True
    marked = replace(batch, span=span, loss_mask=torch.ones_like(batch.loss_mask))
    delta = teacher_of(batch).logprobs - batch.rollout_logprobs
    close(o.RLSD(span="x", placement=o.Shifted()).placed_evidence(marked, 0)[:, 1:3], delta[:, [2, 1]])
    first, second = (o.RLSD(placement=o.Permuted()).placed_evidence(marked, i) for i in (0, 1))
    assert not torch.equal(first, second), "another permutation in each iteration"
    share = span[batch.loss_mask].float().mean().item()
    for method in (o.RLSD(span="x"), o.EvidenceGated(span="x")):
        assert method.credit(replace(batch, span=span), 0).metrics.get("span") == pytest.approx(share)


def check_gated(o: ModuleType) -> None:
    batch = replace(random_batch(2), advantages=torch.ones(B, dtype=torch.float64))
    delta = teacher_of(batch).logprobs - batch.rollout_logprobs
    factors = [0.3 + 1 - math.exp(-max(value, 0.0)) for value in delta[batch.loss_mask].tolist()]
    marked = replace(batch, span=torch.ones_like(batch.loss_mask))
    metrics = o.EvidenceGated(0.3, span="x").credit(marked, 0).metrics
    assert metrics == {"gate": pytest.approx(sum(factors) / len(factors)), "span": 1.0}
    assert o.EvidenceGated().gate.floor == 0.0


def check_opd(o: ModuleType) -> None:
    batch = random_batch(3)
    credit = o.IWOPD(2.0).credit(batch, 0)
    delta = teacher_of(batch).logprobs - batch.rollout_logprobs
    weights = (credit.token_advantages / delta)[batch.loss_mask & (delta != 0)].tolist()
    shown = batch.loss_mask & teacher_of(batch).has_context[:, None]
    assert torch.equal(credit.loss_mask, shown)
    with_context = replace(batch, loss_mask=shown)
    assert o.IWOPD(2.0).credit(with_context, 0).metrics["weight"] == pytest.approx(sum(weights) / len(weights))
    # Of a completion that learns nothing the weights are the largest one: nothing divides by 0.
    assert o.IWOPD(2.0).weights(torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[2.0] * 3]
    # What stands behind a completion has no say.
    padded = o.IWOPD(2.0).weights(torch.tensor([[1.0, -1.0, 9.0]]), torch.tensor([[True, True, False]]))
    assert padded[0, :2].tolist() == [2.0, 1.5]
    with pytest.raises(ValueError, match="max_weight"):
        o.IWOPD(0.9)


def check_contrast(o: ModuleType) -> None:
    batch = random_batch(0)
    both = teacher_of(batch).has_context & contrast_of(batch).exists.any(dim=1)
    assert 0 < both.sum() < B
    credit = o.ContrastOPSD().credit(batch, 0)
    assert credit.metrics == {"left_out": pytest.approx(1 - both.double().mean().item())}
    assert torch.equal(credit.loss_mask, batch.loss_mask & both[:, None])
    assert credit.traces.get("evidence") is credit.token_advantages


def check_srpo(o: ModuleType) -> None:
    batch = random_batch(1)
    distilled = teacher_of(batch).has_context & (batch.rewards < 0.5)
    assert 0 < distilled.sum() < B
    metrics = o.SRPO(correct_reward=0.5).credit(batch, 0).metrics
    assert metrics == {"distilled": pytest.approx(distilled.double().mean().item())}
    # Of a batch in which nothing is distilled nothing divides by 0.
    right = o.SRPO(correct_reward=0.0).credit(batch, 0).distribution_weights
    assert right.isfinite().all()
    assert not right.any()
    assert not o.SRPO().credit(replace(batch, rewards=torch.ones(B)), 0).distribution_weights.any()
    assert (o.SRPO().beta, o.SRPO().needs.divergence) == (1.0, o.TopKTail(0.5, 100))
    for beta in (-1.0, math.nan):
        with pytest.raises(ValueError, match=r"objective\.beta"):
            o.SRPO(beta)


def check_rlcsd(o: ModuleType) -> None:
    for seed in SEEDS:
        hold_to_two_means(o, seed)
    nan = torch.tensor([[math.nan, 0.0]])
    assert o.RLCSD().selected(nan).tolist() == [[True, False]]


def check_sdar(o: ModuleType) -> None:
    batch = random_batch(1)
    teacher = teacher_of(batch)
    kept = batch.loss_mask & teacher.has_context[:, None]
    gates = [1 / (1 + math.exp(-5 * d)) for d in (teacher.logprobs - batch.rollout_logprobs)[kept].tolist()]
    assert o.SDAR().credit(batch, 0).metrics["gate"] == pytest.approx(sum(gates) / len(gates))
    scores = moved_scores(batch, 1)
    o.SDAR(0.3).loss(replace(batch, token_advantages=torch.zeros(B, T)), scores).loss.sum().backward()
    gate = torch.sigmoid(5 * (teacher.logprobs - scores.logprobs)) * teacher.has_context[:, None]
    close(scores.logprobs.grad, -0.3 * gate.detach())


def check_needs(o: ModuleType) -> None:
    both = Signal.TEACHER | Signal.CONTRAST
    expected = {
        o.RLSD: Signal.TEACHER,
        o.TeacherFreeRLSD: Signal.NONE,
        o.EvidenceGated: Signal.TEACHER,
        o.CEPO: both,
        o.ContrastRLSD: both,
        o.ContrastOPSD: both,
        o.RLCSD: both,
        o.SRPO: Signal.TEACHER | Signal.DISTRIBUTION,
        o.SDAR: Signal.TEACHER,
        o.OPSDSampled: Signal.TEACHER,
        o.OPSD: Signal.DISTRIBUTION,
        o.GRPOWithOPSD: Signal.DISTRIBUTION,
        o.SDPG: Signal.DISTRIBUTION | Signal.REFERENCE,
    }
    assert {method: method().needs.signals for method in expected} == expected
    assert o.OPSD().needs.divergence == o.GeneralizedJSD(1.0)
    assert o.GRPOWithOPSD().needs.divergence == o.GeneralizedJSD(1.0)
    assert o.SDPO().needs.divergence == o.TopKTail(0.5, 100)
    assert o.SDPO().importance == o.TruncatedImportance(2.0)
    assert o.SFT().needs.demonstrations == ("demonstration", "solution")
    assert credited(o.GRPOWithOPSD(o.Constant(0.3)), random_batch(0)).distribution_weights is not None
    with pytest.raises(ValueError, match="fields"):
        o.SFT(fields=[])


NAMES = {
    "objectives/base": list(LOOPS),
    "objectives/sdpg": ["sdpg"],
    "objectives/grpo_opsd": ["grpo-opsd", "sdpg"],
    "objectives/sdar": ["sdar"],
    "objectives/cepo": ["cepo"],
    "objectives/contrast": ["cepo", "rlsd-contrast", "opsd-contrast"],
    "objectives/srpo": ["srpo"],
    "objectives/rlcsd": [],
    "objectives/evidence": ["rlsd", "rlsd-shifted", "gated"],
    "objectives/gated": ["gated"],
    "objectives/teacher_free": ["teacher-free"],
    "objectives/rlsd": ["rlsd", "rlsd-one-sided", "rlsd-negative-only", "rlsd-shifted"],
    "objectives/rlrt": ["rlrt", "rlrt-all"],
    "objectives/rlvr": ["rlvr"],
    "objectives/opsd": ["opsd", "opsd-sampled"],
    "objectives/opd": ["iw-opd"],
    "objectives/sdpo": ["sdpo"],
    "objectives/sft": ["sft"],
}
"""The loops that each module is held to."""

FURTHER = {
    "objectives/base": check_base,
    "objectives/evidence": check_evidence,
    "objectives/gated": check_gated,
    "objectives/rlsd": check_rlsd,
    "objectives/opd": check_opd,
    "objectives/contrast": check_contrast,
    "objectives/srpo": check_srpo,
    "objectives/rlcsd": check_rlcsd,
    "objectives/sdar": check_sdar,
}

EDITS = {
    "objectives/base": [
        ("masked_fill(weights == 0, 0.0)", "masked_fill(weights != 0, 0.0)"),
        ("masked_fill(weights == 0, 0.0)", "clone()"),
        ("self.reference_kl.coefficient * kl", "kl"),
        (
            "self.reference_kl(scores.logprobs, present(batch.reference, Signal.REFERENCE))",
            "self.reference_kl(present(batch.reference, Signal.REFERENCE), scores.logprobs)",
        ),
        ('return diagnostics["importance"] * loss', "return loss"),
        ("batch.rollout_logprobs if batch.off_policy else", "batch.rollout_logprobs if not batch.off_policy else"),
        ("return loss if batch.off_policy else self._corrected", "return loss if True else self._corrected"),
        ("return self._corrected(loss, batch, scores, diagnostics)\n\n", "return loss\n\n"),
        ("loss = -self.entropy_bonus * scores.entropy", "loss = self.entropy_bonus * scores.entropy"),
        ("loss = weights * divergence", "loss = -weights * divergence"),
        ("entropy_gradient=self.entropy_bonus != 0", "entropy_gradient=False"),
        ("self.signals | signals", "signals"),
    ],
    "objectives/sdpg": [
        ("batch.advantages > 0", "batch.advantages < 0"),
        (" & (batch.advantages > 0)", ""),
        ("super().distilled(batch) & ", ""),
    ],
    "objectives/grpo_opsd": [
        ("strength * self.distilled", "self.distilled"),
        ("has_context", "has_context.logical_not()"),
        ("token_advantages, {", "None, {"),
        ("strength or Constant(0.1)", "strength or Constant(0.2)"),
    ],
    "objectives/sdar": [
        ("rewarded.loss + distilled", "rewarded.loss - distilled"),
        (".masked_fill(~teacher.has_context[:, None], 0.0)", ""),
        ("teacher.logprobs.detach() - scores.logprobs", "scores.logprobs - teacher.logprobs.detach()"),
        ("self.sharpness * delta.detach()", "-self.sharpness * delta.detach()"),
        ("self.sharpness * delta.detach()", "self.sharpness * delta"),
        ("self.gate(delta) * delta * ", "self.gate(delta) * delta.detach() * "),
        ("self.coefficient * self.gate(delta) * delta", "self.coefficient * delta"),
        ("batch.loss_mask & teacher.has_context[:, None]", "batch.loss_mask"),
    ],
    "objectives/cepo": [
        ("epsilon_w: float = 0.5", "epsilon_w: float = 0.2"),
        ("LinearDecay(0.5,", "LinearDecay(0.4,"),
    ],
    "objectives/contrast": [
        ("wrong.exists & teacher.has_context[:, None]", "wrong.exists"),
        ("teacher.logprobs, wrong.logprobs", "batch.rollout_logprobs, wrong.logprobs"),
        ("super().needs.plus(Signal.CONTRAST)", "super().needs"),
        ("return contrast(batch)[0]", "return super().evidence(batch)"),
        ("batch.loss_mask & contrasted[:, None]", "batch.loss_mask"),
        ("Credit(evidence, ", "Credit(evidence.abs(), "),
        ("1 - contrasted", "contrasted"),
        ("torch.any(exists, dim=1)", "torch.all(exists, dim=1)"),
        (', traces={"evidence": evidence}', ""),
    ],
    "objectives/srpo": [
        ("-self.beta * entropy", "self.beta * entropy"),
        ("beta: float = 1.0", "beta: float = 0.5"),
        ("certainty[mask].sum()", "certainty.sum()"),
        ("float(mask.sum())", "float(mask.numel())"),
        ('means.get("certainty") or 1.0', 'means.get("certainty") or 0.0'),
        ("certainty / (", "certainty * ("),
        ("teacher.has_context & (batch", "(batch"),
        ("batch.rewards < self.correct_reward", "batch.rewards > self.correct_reward"),
        ("batch.rewards < self.correct_reward", "batch.rewards <= self.correct_reward"),
        ("correct_reward: float = 1.0", "correct_reward: float = 2.0"),
        ("batch.loss_mask & column)", "batch.loss_mask)"),
        ("(~column).expand_as(batch.rollout_logprobs)", "torch.ones_like(batch.rollout_logprobs)"),
        ("omega * column", "omega"),
        ("omega * column", "column.expand_as(omega).double()"),
        ("TopKTail(beta=0.5, k=100)", "TopKTail(beta=1.0, k=100)"),
        ("Signal.TEACHER | Signal.DISTRIBUTION", "Signal.DISTRIBUTION"),
        ("if not 0 <= beta", "if beta > 1e9 and not 0 <= beta"),
        ("distilled.float().mean()", "distilled.float().sum()"),
    ],
    "objectives/rlcsd": [
        ('(~selected, "others", 1.0)', '(~selected, "others", 0.0)'),
        ('(selected, "selected", self.selected_weight)', '(selected, "selected", 1.0)'),
        ("weight / share", "weight * share"),
        ("(selected & learnt).sum()", "selected.sum()"),
        ("loss_mask=learnt", "loss_mask=None"),
        ("torch.tanh(evidence / self.temperature)", "(evidence / self.temperature)"),
        ("strength * torch.tanh", "torch.tanh"),
        ("sign * bonus).clamp(min=0)", "sign * bonus)"),
        ("[:, None] + sign * bonus", "[:, None] + bonus"),
        ("~(bonus.abs() <= self.threshold)", "bonus.abs() > self.threshold"),
        ("~(bonus.abs() <= self.threshold)", "~(bonus <= self.threshold)"),
        ("PPOClip(0.2, 0.2)", "PPOClip()"),
    ],
    "objectives/rlsd": [
        ("batch.advantages[:, None] * weights", "batch.advantages.abs()[:, None] * weights"),
        ("F.masked_mean(clipped.float(), batch.loss_mask)", "clipped.float().mean()"),
        ("epsilon_w: float = 0.2", "epsilon_w: float = 0.3"),
        ("weighting or TwoSided()", "TwoSided()"),
        ('{"strength": strength', '{"strength": 0.5'),
        ("self.placed_evidence(batch, iteration)", "self.evidence(batch)"),
        (", **self.span_metrics(batch)", ""),
        ("if epsilon_w < 0", "if False"),
    ],
    "objectives/evidence": [
        ("masked_fill(~batch.span", "masked_fill(batch.span"),
        ("delta.masked_fill(~batch.span, 0.0), mask & batch.span", "delta, mask & batch.span"),
        ("mask & batch.span", "mask"),
        (".logprobs, batch.rollout_logprobs", ".logprobs * 0, batch.rollout_logprobs"),
        ("span=self.span", "span=None"),
        (".plus(Signal.TEACHER, ", ".plus("),
        ("if self.placement is None", "if True"),
        ("mask, iteration)\n", "mask, 0)\n"),
        ("batch.loss_mask\n", "batch.completions.mask\n"),
        ("F.masked_mean(batch.span.float(), batch.loss_mask)", "batch.span.float().mean()"),
    ],
    "objectives/gated": [
        ("floor: float = 0.0", "floor: float = 0.1"),
        ("EvidenceGate(floor)", "EvidenceGate()"),
        ("self.placed_evidence(batch, iteration)", "-self.placed_evidence(batch, iteration)"),
        ("batch.advantages[:, None] * factors", "factors"),
        ("batch.advantages[:, None] * factors", "batch.advantages.abs()[:, None] * factors"),
        ("F.masked_mean(factors, batch.loss_mask)", "factors.mean()"),
        (", **self.span_metrics(batch)", ""),
    ],
    "objectives/teacher_free": [
        ("-batch.rollout_logprobs", "batch.rollout_logprobs"),
        ("& ~Signal.TEACHER", ""),
        ("-batch.rollout_logprobs.detach()", "super().evidence(batch)"),
    ],
    "objectives/rlrt": [
        ("strength or Constant(0.5)", "strength or Constant(0.0)"),
        ("weighting or ReversedOnCorrect()", "ReversedOnCorrect()"),
        ("epsilon_w: float = 1.0", "epsilon_w: float = 0.5"),
    ],
    "objectives/rlvr": [("batch.advantages[:, None]", "-batch.advantages[:, None]")],
    "objectives/opsd": [
        ("has_context.float(), loss", "(~has_context).float(), loss"),
        ("batch.loss_mask & has_context[:, None]", "batch.loss_mask"),
        ("batch.loss_mask & teacher.has_context[:, None]", "batch.loss_mask"),
        ("(teacher.logprobs, batch.rollout_logprobs)", "(batch.rollout_logprobs, teacher.logprobs)"),
        (".plus(Signal.TEACHER)", ""),
        ("GeneralizedJSD(beta=1.0)", "GeneralizedJSD(beta=0.0)"),
    ],
    "objectives/opd": [
        ("delta.abs()", "delta"),
        (".masked_fill(~mask, 0.0)", ""),
        ("cumsum(dim=1) - distance", "cumsum(dim=1)"),
        ("total.masked_fill(total == 0, 1.0)", "total"),
        ("(self.max_weight - 1) * (1 - share)", "(self.max_weight - 1) * share"),
        ("1 + (self.max_weight - 1)", "self.max_weight"),
        ("max_weight: float = 1.5", "max_weight: float = 2.0"),
        ("weights * delta", "weights * delta.abs()"),
        ("weights * delta", "delta"),
        ("if not 1 <= max_weight", "if not 0 <= max_weight"),
        ("F.masked_mean(weights, batch.loss_mask)", "weights.mean()"),
        ("replace(plain, token", "Credit(token"),
    ],
    "objectives/sdpo": [
        ("TruncatedImportance(2.0)", "TruncatedImportance(1.0)"),
        ("importance=importance or TruncatedImportance(2.0)", "importance=None"),
        ("beta=0.5", "beta=1.0"),
    ],
    "objectives/sft": [
        ("torch.ones_like", "torch.zeros_like"),
        ("surrogate or Reinforce()", "None"),
        ("if not fields", "if False"),
    ],
}
"""By module: a piece of its source, and what is put in its place."""


def check(module: str, o: ModuleType) -> None:
    check_needs(o)
    check_loops(o, NAMES[module])
    if module in FURTHER:
        FURTHER[module](o)


@pytest.mark.parametrize("module", NAMES)
def test_the_unchanged_methods_pass(module: str):
    check(module, objectives)


def test_every_method_has_a_check():
    assert modules_of("objectives") == set(NAMES)
    assert set(NAMES) == set(EDITS)


def check_of(mutant: Mutant):
    return lambda o: check(mutant.module, o)


def test_every_mutant_is_caught():
    assert not survivors(mutants(EDITS), check_of, objectives_with)
