"""Would the checks notice a wrong formula? Each mutant is a module with one edit, and some check has to fail for it."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, tensor

NAN, INF = math.nan, math.inf


def close(got: Tensor | float, expected: object) -> None:
    torch.testing.assert_close(
        torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


def gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (result,) = torch.autograd.grad(loss.sum(), leaf, allow_unused=True, materialize_grads=True, retain_graph=True)
    return result


def check_truncation(m: ModuleType) -> None:
    close(m.soft_overlong_penalty(tensor([3, 6, 8, 10, 12]), max_tokens=10, buffer=4), [0, 0, -0.5, -1, -1])
    for buffer in (0, 11):
        with pytest.raises(ValueError, match="buffer"):
            m.soft_overlong_penalty(tensor([3]), max_tokens=10, buffer=buffer)


def check_masking(m: ModuleType) -> None:
    x, mask = tensor([[1.0, NAN], [2.0, 4.0]], requires_grad=True), tensor([[1, 0], [1, 1]])
    close(m.masked_sum(x, mask), 7)
    close(m.masked_sum(x, mask, dim=1), [1, 6])
    close(m.masked_mean(x, mask, dim=1), [1, 3])
    close(m.masked_mean(x[1:], tensor([[1]])), 3)
    empty = m.masked_mean(x, torch.zeros(2, 2))
    close(empty, 0)
    close(gradient(empty, x), torch.zeros(2, 2))


def check_advantages(m: ModuleType) -> None:
    rewards = tensor([[1.0, 0.0, 0.5, NAN], [0.1, 0.1, 0.1, 0.1], [1.0, NAN, NAN, NAN]])
    valid = ~rewards.isnan()
    half = [0.5, -0.5, 0.0, 0.0]
    nothing = [0.0] * 4
    close(m.group_centered_advantages(rewards, valid), [half, nothing, nothing])
    close(m.group_normalized_advantages(rewards, valid), [[x / 0.500001 for x in half], nothing, nothing])
    close(m.leave_one_out_advantages(rewards, valid), [[x * 1.5 for x in half], nothing, nothing])
    batch = rewards[valid].double()
    std = math.sqrt(((batch - batch.mean()) ** 2).sum().item() / 7)
    close(m.batch_normalized_advantages(rewards, valid), [[x / std for x in half], nothing, nothing])
    small = tensor([[1e-6, -1e-6]])
    close(m.group_normalized_advantages(small), [[2**-0.5 / (1 + 2**-0.5) * s for s in (1, -1)]])
    assert not m.group_normalized_advantages(torch.full((1, 7), 0.1)).any()
    assert m.signal_free_groups(rewards - 2, valid).tolist() == [False, True, True]
    assert m.signal_free_groups(tensor([[-1.0, -1.0, NAN]]), tensor([[True, True, False]])).all()
    assert m.group_centered_advantages(tensor([[1.0, NAN]])).isnan().all()


def check_evidence(m: ModuleType) -> None:
    teacher, student = tensor([[-1.0, -2.0]], requires_grad=True), tensor([[-3.0, -1.0]], requires_grad=True)
    delta = m.evidence_delta(teacher, student)
    close(delta, [[2, -1]])
    assert not delta.requires_grad
    column = tensor([[3.0], [-3.0], [0.0]], requires_grad=True)
    wide = tensor([[2.0, -2.0, 0.05, INF]]).expand(3, 4)
    up, down = math.exp(0.05), math.exp(-0.05)
    weight = m.evidence_weight(wide, column, 0.2)
    close(weight, [[1.2, 0.8, up, 1.2], [0.8, 1.2, down, 0.8], [1, 1, 1, 1]])
    assert not weight.requires_grad
    close(m.evidence_weight(tensor([[-7.0, 7.0]]), tensor([[1.0]]), 1.0), [[math.exp(-7), 2]])
    assert m.evidence_weight(tensor([[NAN]]), tensor([[1.0]]), 0.2).isnan().all()
    one_sided = m.one_sided_evidence_weight(wide[:, :3], column, 0.2)
    close(one_sided, [[1.2, math.exp(-2), up], [0.8, math.exp(2), down], [1, 1, 1]])
    assert m.one_sided_evidence_weight(tensor([[-INF]]), tensor([[-1.0]]), 0.2).isfinite().all()
    mask = tensor([[1, 1, 1, 0]] * 3)
    close(m.evidence_clip_fraction(wide, column, 0.2, mask), 4 / 9)
    positive = tensor([[-1.0], [-1.0]], requires_grad=True)
    contrast = m.contrastive_evidence(positive, tensor([[[-2.0], [-3.0], [-9.0]]] * 2), tensor([[1, 1, 0], [0, 0, 0]]))
    close(contrast, [[-1 - math.log((math.exp(-2) + math.exp(-3)) / 2)], [0]])
    assert not contrast.requires_grad


def check_credit(m: ModuleType) -> None:
    advantages = tensor([2.0, -2.0, 0.0], requires_grad=True)
    delta = tensor([[1.0, -1.0]], requires_grad=True).expand(3, 2)
    up, down = 2 * (0.75 + 0.25 * 1.2), 2 * (0.75 + 0.25 * 0.8)
    plain = {2: [2, 2], -2: [-2, -2]}
    rlsd = {2: [up, down], -2: [-down, -up]}
    reverse = {2: [down, up], -2: [-up, -down]}
    expected = {
        "rlsd_credit": [rlsd[2], rlsd[-2], [0, 0]],
        "rlsd_negative_only_credit": [plain[2], rlsd[-2], [0, 0]],
        "rlrt_credit": [reverse[2], plain[-2], [0, 0]],
        "rlrt_all_credit": [reverse[2], reverse[-2], [0, 0]],
        "rlsd_one_sided_credit": [
            [up, 2 * (0.75 + 0.25 * math.exp(-1))],
            [-down, -2 * (0.75 + 0.25 * math.e)],
            [0, 0],
        ],
    }
    for name, rows in expected.items():
        credit = getattr(m, name)(advantages, delta, 0.25, 0.2)
        close(credit, rows)
        assert not credit.requires_grad
    teacher, student = tensor([[-1.0]], requires_grad=True), tensor([[-3.0]], requires_grad=True)
    close(m.distillation_credit(teacher, student), [[2]])
    gate = 1 / (1 + math.exp(-5))
    close(m.sdar_gate(delta[:1]), [[gate, 1 - gate]])
    term = m.sdar_term(teacher, student + tensor([[1.0, 3.0]]), 0.1)
    close(term, [[0.1 * gate, -0.1 * (1 - gate)]])
    close(gradient(term * tensor([[1, 2]]), student), [[-0.1 * (gate + 2 * (1 - gate))]])
    close(gradient(term, teacher), [[0]])
    bonus = m.rlcsd_bonus(tensor([[0.02, -9.0, 1e-4]], requires_grad=True).expand(3, 3), 3.0)
    close(bonus[0], [3 * math.tanh(1), -3, 3 * math.tanh(0.005)])
    assert m.rlcsd_selection(bonus).tolist() == [[True, True, False]] * 3
    rlcsd = m.rlcsd_credit(advantages, bonus)
    close(rlcsd, [[2 + 3 * math.tanh(1), 0, 2], [0, -5, -2], [0, 0, 0]])
    assert not rlcsd.requires_grad


def check_divergences(m: ModuleType) -> None:
    student, teacher = (
        tensor([[0.0, 1.0, 2.0, -1.0]], requires_grad=True),
        tensor([[1.0, 0.5, -1.0, 0.0]], requires_grad=True),
    )
    s, t = student.detach().double().softmax(-1)[0].tolist(), teacher.detach().double().softmax(-1)[0].tolist()
    indices = m.topk_indices(student, 2)
    assert sorted(indices[0].tolist()) == [1, 2]

    def kl(p: list[float], q: list[float]) -> float:
        return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))

    def jsd(s: list[float], t: list[float], beta: float) -> float:
        middle = [(1 - beta) * x + beta * y for x, y in zip(s, t, strict=True)]
        return {0: kl(t, s), 1: kl(s, t)}.get(beta, beta * kl(t, middle) + (1 - beta) * kl(s, middle))

    def with_tail(p: list[float]) -> list[float]:
        return [p[1], p[2], p[0] + p[3]]

    def renormalized(p: list[float]) -> list[float]:
        return [p[1] / (p[1] + p[2]), p[2] / (p[1] + p[2])]

    for beta in (0, 0.3, 1):
        terms = {
            jsd(s, t, beta): m.generalized_jsd(student, teacher, beta),
            jsd(with_tail(s), with_tail(t), beta): m.topk_tail_jsd(student, teacher, indices, beta),
            jsd(renormalized(s), renormalized(t), beta): m.topk_renormalized_jsd(student, teacher, indices, beta),
        }
        for expected, term in terms.items():
            close(term, [expected])
            assert not gradient(term, teacher).any()
            assert gradient(term, student).any()


def check_surrogates(m: ModuleType) -> None:
    policy = tensor([[-1.0, -1.0, -1.0, -1.0]], requires_grad=True)
    old = tensor([[-2.0, 1.0, -2.0, 1.0]], requires_grad=True)
    advantages = tensor([[1.0, 1.0, -1.0, -1.0]], requires_grad=True)
    up, down = math.e, math.exp(-2)
    cases = {
        m.ppo_clip_loss: ([-1.28, -down, up, 0.8], [0, -down, up, 0]),
        m.cispo_loss: ([up, down, -up, -down], [-up, -down, up, down]),
    }
    for surrogate, (losses, gradients) in cases.items():
        loss = surrogate(policy, old, advantages)
        close(loss, [losses])
        close(gradient(loss, policy), [gradients])
    close(m.cispo_loss(policy, old, advantages, epsilon_high=0.5), [[1.5, down, -1.5, -down]])
    close(m.dual_clip_ppo_loss(policy, old, advantages, dual_clip=1.5), [[-1.28, -down, 1.5, 0.8]])
    close(m.dual_clip_ppo_loss(policy, old, advantages), [[-1.28, -down, up, 0.8]])
    close(m.reinforce_loss(policy, advantages), [[1, 1, -1, -1]])
    mask = tensor([[1, 1, 1, 0]])
    gspo = m.gspo_loss(policy, old, advantages, mask, 2.0, 2.0)
    close(gspo, [[-1, -1, 1, 1]])
    close(gradient(gspo[:, 0], policy), [[-1, 0, 0, 0]])
    close(gradient(gspo[:, 0], old), [[0, 0, 0, 0]])
    close(m.gspo_loss(policy, old + 1, advantages, mask), [[-1 / math.e, -1 / math.e, 1 - 3e-4, 1 - 3e-4]])
    for loss in (*(f(policy, old, advantages) for f in cases), m.reinforce_loss(policy, advantages), gspo):
        assert not gradient(loss, old).any()
        assert not gradient(loss, advantages).any()
    close(m.clip_indicator(policy, old, advantages), [[1, 0, 0, 1]])
    close(m.clip_fraction(policy, old, advantages, mask), 1 / 3)
    weights = m.truncated_importance_weights(policy, old, 2.0)
    close(weights, [[2, down, 2, down]])
    assert not weights.requires_grad


def check_reduction(m: ModuleType) -> None:
    loss, mask = tensor([[1.0, 2.0], [6.0, NAN], [NAN, NAN]]), tensor([[1, 1], [1, 0], [0, 0]])
    close(m.token_count(mask), 3)
    close(m.sequence_count(mask), 2)
    close(m.reduce(loss, m.token_mean_weights(mask), 3), 3)
    close(m.reduce(loss, m.sequence_mean_weights(mask), 2), (1.5 + 6) / 2)
    close(m.reduce(loss, m.sequence_sum_weights(mask, 10), tensor(2)), 0.45)
    close(m.reduce(loss, torch.zeros(3, 2), tensor(0)), 0)


def check_kl(m: ModuleType) -> None:
    policy, reference = tensor([-1.0], requires_grad=True), tensor([-3.0], requires_grad=True)
    for estimator, value, slope in ((m.kl_k1, 2, 1), (m.kl_k2, 2, 2), (m.kl_k3, math.exp(-2) + 1, 1 - math.exp(-2))):
        estimate = estimator(policy, reference)
        close(estimate, [value])
        close(gradient(estimate, policy), [slope])
        assert not gradient(estimate, reference).any()


def check_schedules(m: ModuleType) -> None:
    assert [m.linear_decay(i, 0.5, 0.1, 4) for i in (0, 1, 4, 9)] == pytest.approx([0.5, 0.4, 0.1, 0.1])
    assert [m.linear_decay(i, 0.5, 0.1, 4, 2, 3) for i in (0, 1, 2, 5, 6)] == pytest.approx([0, 0.25, 0.5, 0.5, 0.4])
    assert [m.cosine_decay(i, 0.5, 0.1, 3, 0, 1) for i in (0, 1, 2, 4)] == pytest.approx([0.5, 0.5, 0.4, 0.1])
    assert [m.constant(i, 0.5, 2) for i in (0, 1, 5)] == [0, 0.25, 0.5]


def check_logprobs(m: ModuleType) -> None:
    hidden = tensor([[0.0, 1.0, 3.0], [1.0, 0.0, -1.0]], requires_grad=True)
    teacher = tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]], requires_grad=True)
    ids = tensor([2, 0])

    def gap(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return (student_logits - 3 * teacher_logits)[:, 1]

    for chunk_elements in (3, 100):
        scores = m.token_scores(hidden, torch.clone, ids, 2.0, chunk_elements, gap, teacher, torch.clone)
        expected = (hidden / 2).log_softmax(-1)
        close(scores.logprobs, expected[[0, 1], ids])
        close(scores.entropy, -(expected.exp() * expected).sum(-1))
        close(scores.divergence, [(1 - 3) / 2, (0 - 6) / 2])
        close(gradient(scores.logprobs, hidden), gradient(expected[[0, 1], ids], hidden))
        assert not scores.entropy.requires_grad
        assert not gradient(scores.divergence, teacher).any()
        bonus = m.token_scores(hidden, torch.clone, ids, 2.0, chunk_elements, entropy_gradient=True).entropy
        close(gradient(bonus, hidden), gradient(-(expected.exp() * expected).sum(-1), hidden))


def check_pass_at_k(m: ModuleType) -> None:
    close(m.pass_at_k(tensor([5, 5, 5]), tensor([0, 2, 4]), 2), [0, 0.7, 1])


def check_statistics(m: ModuleType) -> None:
    mean, half_width = m.mean_interval(tensor([1.0, 2.0, 3.0]))
    assert (mean, half_width) == pytest.approx((2, 4.302653 / math.sqrt(3)), rel=1e-6)
    assert m.student_t_quantile(0.95, 1) == pytest.approx(12.7062, rel=1e-5)
    assert m.student_t_quantile(0.95, 7) == pytest.approx(2.364624, rel=1e-6)
    assert m.student_t_quantile(0.99, 8) == pytest.approx(3.355387, rel=1e-6)


def check_leakage(m: ModuleType) -> None:
    close(m.length_drift(tensor([2, 4]), 6.0), -0.5)
    close(m.sampled_teacher_kl(tensor([[-1.0, 5.0]]), tensor([[1, 0]])), [1])


class Mutant(NamedTuple):
    module: str
    original: str
    mutated: str


EDITS = {
    "masking": [
        ("where(mask.bool(), x, x.new_zeros(()))", "x"),
        ("where(mask.bool(), x, x.new_zeros(()))", "x * mask"),
        ("count.clamp(min=1)", "count"),
        ("mask.bool().expand_as(x)", "mask.bool()"),
        ("masked_sum(x, kept, dim) / count", "x.nan_to_num().sum() / count"),
    ],
    "advantages": [
        ("rewards - masked_mean(rewards, valid, dim=1).unsqueeze(1)", "rewards"),
        (
            "rewards - masked_mean(rewards, valid, dim=1).unsqueeze(1)",
            "masked_mean(rewards, valid, dim=1).unsqueeze(1) - rewards",
        ),
        ("masked_mean(rewards, valid, dim=1)", "rewards.nan_to_num().mean(dim=1)"),
        ("deviations.masked_fill(silent, 0)", "deviations"),
        ("signal_free_groups(rewards, valid).unsqueeze(1) | ~valid", "~valid"),
        ("signal_free_groups(rewards, valid).unsqueeze(1) | ~valid", "~valid.any(1, keepdim=True)"),
        ("(count - 1).clamp(min=1)\n    return", "count.clamp(min=1)\n    return"),
        ("variance.sqrt()", "variance"),
        ("* count / (count - 1).clamp(min=1)", ""),
        ("STD_OFFSET = 1e-6", "STD_OFFSET = 0.0"),
        ("rewards - masked_mean(rewards, valid), 0)", "rewards, 0)"),
        ("highest <= lowest", "~(highest > lowest)"),
        ("highest <= lowest", "highest < lowest"),
        ("rewards.masked_fill(~valid, -torch.inf)", "rewards.nan_to_num()"),
    ],
    "evidence": [
        ("(teacher_logprobs - student_logprobs).detach()", "(student_logprobs - teacher_logprobs).detach()"),
        ("(teacher_logprobs - student_logprobs).detach()", "teacher_logprobs.detach() - student_logprobs"),
        (".clamp(lower, upper).exp()", ".exp()"),
        (".clamp(lower, upper).exp()", ".clamp(max=upper).exp()"),
        (".clamp(lower, upper).exp()", ".clamp(lower, upper)"),
        ("advantages.detach().sign() * torch", "torch"),
        ("advantages.detach().sign() * torch", "advantages.detach() * torch"),
        ("advantages.detach().sign() * torch", "-advantages.detach().sign() * torch"),
        ("advantages.detach().sign() * torch", "advantages.tanh() * torch"),
        ("torch.nan_to_num(delta.detach(), nan=math.nan)", "delta.detach()"),
        ("torch.nan_to_num(delta.detach(), nan=math.nan)", "torch.nan_to_num(delta.detach())"),
        ("math.log1p(-epsilon_w)", "-math.log1p(epsilon_w)"),
        ("math.log1p(-epsilon_w) if epsilon_w < 1 else -math.inf", "math.log1p(-min(epsilon_w, 0.99))"),
        ("torch.where(advantages > 0, signed", "torch.where(advantages < 0, signed"),
        ("signed.clamp(lower, largest)", "signed.clamp(lower)"),
        ("(signed < lower) | (signed > upper)", "signed > upper"),
        ("masked_mean(clipped.to(delta.dtype), mask)", "clipped.to(delta.dtype).mean()"),
        ("positive_logprobs - log_mean", "log_mean - positive_logprobs"),
        ("log_sum - count.clamp(min=1).log()", "log_sum"),
        (".masked_fill(~exists.unsqueeze(2), -math.inf)", ""),
        ("exists.any(dim=1, keepdim=True), contrast, 0).detach()", "exists.any(), contrast, 0).detach()"),
        ("contrast, 0).detach()", "contrast, 0)"),
    ],
    "credit": [
        ("torch.lerp(torch.ones_like(weight), weight, strength)", "weight"),
        ("torch.lerp(torch.ones_like(weight), weight, strength)", "1 - strength + weight"),
        (
            "torch.lerp(torch.ones_like(weight), weight, strength)",
            "torch.lerp(weight, torch.ones_like(weight), strength)",
        ),
        ("_blend(evidence_weight(delta", "_blend(one_sided_evidence_weight(delta"),
        ("_blend(one_sided_evidence_weight(delta", "_blend(evidence_weight(delta"),
        ("column * _blend(evidence_weight", "column.abs() * _blend(evidence_weight"),
        ("torch.where(column < 0, rlsd", "torch.where(column > 0, rlsd"),
        ("torch.where(column > 0, rlrt", "torch.where(column < 0, rlrt"),
        ("rlsd_credit(advantages, -delta", "rlsd_credit(advantages, delta"),
        ("torch.sigmoid(sharpness", "torch.sigmoid(-sharpness"),
        ("torch.sigmoid(sharpness * delta.detach())", "torch.sigmoid(sharpness * delta)"),
        ("teacher_logprobs.detach() - student", "teacher_logprobs - student"),
        ("teacher_logprobs.detach() - student_logprobs", "student_logprobs - teacher_logprobs.detach()"),
        ("sdar_gate(delta, sharpness) * delta", "sdar_gate(delta, sharpness) * delta.detach()"),
        ("coefficient * sdar_gate(delta, sharpness) * delta", "coefficient * delta"),
        ("coefficient * sdar_gate(delta, sharpness) * delta", "coefficient * sdar_gate(delta, sharpness)"),
        ("evidence_delta(teacher_logprobs, student_logprobs)", "evidence_delta(student_logprobs, teacher_logprobs)"),
        ("strength * torch.tanh(delta.detach() / temperature)", "strength * delta.detach() / temperature"),
        ("torch.tanh(delta.detach()", "torch.tanh(delta"),
        ("sign * bonus).clamp(min=0)", "sign * bonus)"),
        ("column.abs() + sign * bonus", "column.abs() + bonus"),
        ("bonus.abs() <= threshold, column", "bonus.abs() < 0, column"),
        ("bonus.abs() > threshold", "bonus > threshold"),
    ],
    "divergences": [
        ("teacher_logits.detach().log_softmax", "teacher_logits.log_softmax"),
        ("student_logits.log_softmax(dim=-1)", "student_logits.detach().log_softmax(dim=-1)"),
        ("_with_tail(teacher_logits.detach(), indices)", "_with_tail(teacher_logits, indices)"),
        ("return _kl(teacher, student)", "return _kl(student, teacher)"),
        ("return _kl(student, teacher)", "return _kl(teacher, student)"),
        (
            "student + math.log1p(-beta), teacher + math.log(beta)",
            "student + math.log(beta), teacher + math.log1p(-beta)",
        ),
        ("beta * _kl(teacher, mixture) + (1 - beta) *", "(1 - beta) * _kl(teacher, mixture) + beta *"),
        ("(1 - beta) * _kl(student, mixture)", "(1 - beta) * _kl(mixture, student)"),
        ("p.exp() * (p - q)", "p.exp() * (q - p)"),
        ("p.exp() * (p - q)", "q.exp() * (p - q)"),
        ("torch.cat([kept, tail], dim=-1)", "kept"),
        (".scatter(-1, indices, -math.inf)", ""),
        ("return kept.log_softmax(dim=-1)", "return kept"),
        ("logits.detach().topk(", "(-logits.detach()).topk("),
        ("student_logits.gather(-1, indices), teacher_logits.gather(-1, indices)", "student_logits, teacher_logits"),
    ],
    "surrogates": [
        ("-torch.minimum(ratio", "torch.minimum(ratio"),
        ("-torch.minimum(ratio", "-torch.maximum(ratio"),
        ("-torch.minimum(ratio * advantages, clipped * advantages)", "-ratio * advantages"),
        ("-torch.minimum(ratio * advantages, clipped * advantages)", "-clipped * advantages"),
        (
            "clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)",
            "clipped = ratio.clamp(1 - epsilon_high, 1 + epsilon_low)",
        ),
        ("(policy_logprobs - old_logprobs.detach()).exp()", "(policy_logprobs - old_logprobs).exp()"),
        ("(policy_logprobs - old_logprobs.detach()).exp()", "(old_logprobs.detach() - policy_logprobs).exp()"),
        ("(policy_logprobs - old_logprobs.detach()).exp()", "(policy_logprobs.detach() - old_logprobs).exp()"),
        ('[B, T]."""\n    advantages = advantages.detach()', '[B, T]."""'),
        ("torch.minimum(loss, -dual_clip * advantages)", "torch.maximum(loss, -dual_clip * advantages)"),
        ("torch.where(advantages < 0, torch.minimum(loss", "torch.where(advantages > 0, torch.minimum(loss"),
        ("masked_mean(log_ratio, mask, dim=1)", "log_ratio.mean(dim=1)"),
        ("(policy_logprobs - old_logprobs).detach()\n    sequence", "policy_logprobs - old_logprobs\n    sequence"),
        ("sequence_log_ratio + policy_logprobs - policy_logprobs.detach()", "sequence_log_ratio"),
        (
            "_ratio(policy_logprobs, old_logprobs).detach()\n    return -ratio",
            "_ratio(policy_logprobs, old_logprobs)\n    return -ratio",
        ),
        ("-ratio.clamp(1 - epsilon_low, 1 + epsilon_high) * adv", "-ratio * adv"),
        ("advantages.detach() * policy_logprobs\n\n\ndef reinforce", "advantages * policy_logprobs\n\n\ndef reinforce"),
        ("return -advantages.detach() * policy_logprobs", "return advantages.detach() * policy_logprobs"),
        ("return -advantages.detach() * policy_logprobs", "return -advantages * policy_logprobs"),
        ("(above | below)", "above"),
        ("masked_mean(clipped, mask)", "clipped.mean()"),
        (".clamp(max=math.log(cap))", ""),
        ("(policy_logprobs - rollout_logprobs).detach()", "(policy_logprobs - rollout_logprobs)"),
        ("(policy_logprobs - rollout_logprobs).detach()", "(rollout_logprobs - policy_logprobs).detach()"),
    ],
    "reduction": [
        ("masked_sum(weights * loss, weights != 0)", "(weights * loss).sum()"),
        ("masked_sum(weights * loss, weights != 0)", "masked_sum(loss, weights != 0)"),
        ("total / divisor.masked_fill(divisor == 0, 1)", "total / divisor"),
        ("total / divisor.masked_fill(divisor == 0, 1)", "total / weights.numel()"),
        ("weights / weights.sum(dim=1, keepdim=True).clamp(min=1)", "weights / weights.sum()"),
        ("weights / weights.sum(dim=1, keepdim=True).clamp(min=1)", "weights"),
        ("_as_float(mask) / max_tokens", "_as_float(mask) / mask.shape[1]"),
        ("mask.bool().any(dim=1).sum()", "mask.bool().sum(dim=1).numel()"),
        ("return mask.bool().sum()", "return torch.tensor(mask.numel())"),
    ],
    "truncation": [
        ("max_tokens - buffer - lengths", "lengths - max_tokens + buffer"),
        ("max_tokens - buffer - lengths", "max_tokens - lengths"),
        (".clamp(-1.0, 0.0)", ".clamp(max=0.0)"),
        (".clamp(-1.0, 0.0)", ".clamp(min=-1.0)"),
    ],
    "kl": [
        ("policy_logprobs - reference_logprobs.detach()", "reference_logprobs.detach() - policy_logprobs"),
        ("policy_logprobs - reference_logprobs.detach()", "policy_logprobs - reference_logprobs"),
        ("policy_logprobs - reference_logprobs.detach()", "policy_logprobs.detach() - reference_logprobs"),
        (".square() / 2", ".square()"),
        ("(-log_ratio).expm1() + log_ratio", "log_ratio.expm1() - log_ratio"),
        ("(-log_ratio).expm1() + log_ratio", "(-log_ratio).exp() + log_ratio"),
    ],
    "schedules": [
        ("initial + (final - initial) * decayed", "final + (initial - final) * decayed"),
        (
            "min(1.0, max(0.0, iterations_into_decay / decay_iterations))",
            "max(0.0, iterations_into_decay / decay_iterations)",
        ),
        (
            "min(1.0, max(0.0, iterations_into_decay / decay_iterations))",
            "min(1.0, iterations_into_decay / decay_iterations)",
        ),
        ("iterations_into_decay / decay_iterations)", "(iterations_into_decay + 1) / decay_iterations)"),
        ("min(1.0, iteration / warmup_iterations)", "min(1.0, (iteration + 1) / warmup_iterations)"),
        ("math.cos(math.pi * decayed)", "math.sin(math.pi * decayed)"),
        (
            "iteration - warmup_iterations - hold_iterations, decay_iterations)\n    value = initial",
            "iteration - warmup_iterations, decay_iterations)\n    value = initial",
        ),
    ],
    "logprobs": [
        (".squeeze(-1) - normalizer", ".squeeze(-1)"),
        ("normalizer - torch.einsum", "torch.einsum"),
        ("with torch.no_grad():\n            teacher_logits", "if True:\n            teacher_logits"),
        (
            "_tempered_logits(teacher.head, teacher_hidden, temperature)",
            "_tempered_logits(teacher.head, teacher_hidden, 1.0)",
        ),
        ("teacher.divergence(logits, teacher_logits)", "teacher.divergence(teacher_logits, logits)"),
        ("else logits / temperature", "else logits * temperature"),
        ("entropy_gradient and torch.is_grad_enabled()", "torch.is_grad_enabled()"),
        ("entropy_gradient and torch.is_grad_enabled()", "False"),
        ("ids[s], None", "ids[:size], None"),
    ],
    "pass_at_k": [
        ("torch.where(wrong < k, 1.0,", "torch.where(wrong < 0, 1.0,"),
        ("1 - log_all_wrong.exp()", "log_all_wrong.exp()"),
        ("wrong = samples - correct", "wrong = correct"),
    ],
    "statistics": [
        ("values.std()", "values.std(correction=0)"),
        ("math.sqrt(n)", "math.sqrt(n - 1)"),
        ("student_t_quantile(confidence, n - 1)", "student_t_quantile(confidence, n)"),
        ("0.0 if degrees_of_freedom == 1 else term", "term"),
        ("(n - 1) / n *", "n / (n + 1) *"),
    ],
    "leakage": [
        ("masked_mean(-delta, mask, dim=1)", "masked_mean(delta, mask, dim=1)"),
        ("masked_mean(-delta, mask, dim=1)", "(-delta).mean(dim=1)"),
        ("/ baseline - 1", "/ baseline"),
    ],
}
"""By module: a piece of its source, and what is put in its place."""

MUTANTS = [Mutant(module, *edit) for module, edits in EDITS.items() for edit in edits]

CHECKS: dict[str, Callable[[ModuleType], None]] = {
    name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")
}


def source_of(module: str) -> str:
    return Path(str(importlib.import_module(f"rlsd_pl.functional.{module}").__file__)).read_text()


def load(module: str, source: str) -> ModuleType:
    loaded = ModuleType(f"mutant_{module}")
    exec(compile(source, f"<mutant of {module}>", "exec"), loaded.__dict__)
    return loaded


def survives(mutant: Mutant) -> bool:
    source = source_of(mutant.module)
    assert source.count(mutant.original) >= 1, f"{mutant} no longer applies: its original text is gone"
    changed = load(mutant.module, source.replace(mutant.original, mutant.mutated))
    try:
        CHECKS[mutant.module](changed)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("module", CHECKS)
def test_the_unchanged_module_passes_its_check(module: str):
    CHECKS[module](load(module, source_of(module)))


def test_every_formula_module_has_mutants():
    folder = Path(str(importlib.import_module("rlsd_pl.functional").__file__)).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == set(CHECKS) == {mutant.module for mutant in MUTANTS}


def test_every_mutant_is_caught():
    survivors = [mutant for mutant in MUTANTS if survives(mutant)]
    print(f"mutation score: {len(MUTANTS) - len(survivors)} of {len(MUTANTS)} caught")
    assert not survivors, "\n".join(map(str, survivors))
