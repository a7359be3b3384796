"""Evidence and credit against loops over plain floats, and the properties that the papers claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl import functional as F

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
ADVANTAGES = torch.tensor([1.3, -0.7, 0.0, -2.0], dtype=torch.float64)

seeds = st.integers(0, 10_000)
strengths = st.floats(0, 1)
epsilons = st.floats(0, 1.5)
scales = st.sampled_from([0.01, 1.0, 30.0])


def random_delta(seed: int, scale: float = 1.0, rows: int = 4, tokens: int = 5) -> Tensor:
    return scale * torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def loop(advantages: Tensor, delta: Tensor, formula: Callable[[float, float], float]) -> Tensor:
    rows = zip(advantages.tolist(), delta.tolist(), strict=True)
    return torch.tensor([[formula(a, d) for d in row] for a, row in rows], dtype=torch.float64)


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def rlsd(a: float, d: float, strength: float, epsilon: float) -> float:
    weight = clip(math.exp(sign(a) * d), 1 - epsilon, 1 + epsilon)
    return a * ((1 - strength) + strength * weight)


def rlsd_one_sided(a: float, d: float, strength: float, epsilon: float) -> float:
    weight = math.exp(sign(a) * d)
    return (1 - strength) * a + strength * min(weight * a, clip(weight, 1 - epsilon, 1 + epsilon) * a)


LOOPS: dict[Callable[..., Tensor], Callable[[float, float, float, float], float]] = {
    F.rlsd_credit: rlsd,
    F.rlsd_one_sided_credit: rlsd_one_sided,
    F.rlsd_negative_only_credit: lambda a, d, s, e: rlsd(a, d, s, e) if a < 0 else a,
    F.rlrt_credit: lambda a, d, s, e: rlsd(a, -d, s, e) if a > 0 else a,
    F.rlrt_all_credit: lambda a, d, s, e: rlsd(a, -d, s, e),
}
EVERY = pytest.mark.parametrize("credit", LOOPS, ids=lambda f: f.__name__)


@EVERY
@PROPERTY
@given(seed=seeds, scale=scales, strength=strengths, epsilon=epsilons)
def test_matches_the_loop(credit: Callable[..., Tensor], seed: int, scale: float, strength: float, epsilon: float):
    delta = random_delta(seed, scale)
    expected = loop(ADVANTAGES, delta, lambda a, d: LOOPS[credit](a, d, strength, epsilon))
    torch.testing.assert_close(credit(ADVANTAGES, delta, strength, epsilon), expected, rtol=1e-9, atol=1e-9)


@EVERY
@PROPERTY
@given(seed=seeds, epsilon=epsilons, scale=st.sampled_from([1.0, 1e3, math.inf]))
def test_strength_zero_is_rlvr_bit_for_bit(credit: Callable[..., Tensor], seed: int, epsilon: float, scale: float):
    advantages = ADVANTAGES.float() / 3
    credited = credit(advantages, random_delta(seed, scale).float(), 0.0, epsilon)
    assert torch.equal(credited, advantages.unsqueeze(1).expand_as(credited))


@EVERY
@PROPERTY
@given(strength=strengths, epsilon=epsilons)
def test_teacher_equal_to_student_is_rlvr_bit_for_bit(credit: Callable[..., Tensor], strength: float, epsilon: float):
    logprobs = -random_delta(3).abs().float()
    advantages = ADVANTAGES.float() / 3
    credited = credit(advantages, F.evidence_delta(logprobs, logprobs.clone()), strength, epsilon)
    assert torch.equal(credited, advantages.unsqueeze(1).expand_as(credited))


@EVERY
@PROPERTY
@given(seed=seeds, scale=scales, strength=strengths, epsilon=st.floats(0, 0.99))
def test_sign_of_the_advantage_is_kept(
    credit: Callable[..., Tensor], seed: int, scale: float, strength: float, epsilon: float
):
    # The printed one-sided form lets a weight fall to 0 with the evidence; it never turns the sign.
    credited = credit(ADVANTAGES, random_delta(seed, scale), strength, epsilon)
    signs = ADVANTAGES.sign().unsqueeze(1).expand_as(credited)
    assert torch.equal(credited.sign().abs() * signs, credited.sign())
    assert credit is F.rlsd_one_sided_credit or torch.equal(credited.sign(), signs)


@EVERY
def test_no_gradient_reaches_credit(credit: Callable[..., Tensor]):
    student = random_delta(1).requires_grad_()
    teacher = random_delta(2).requires_grad_()
    advantages = ADVANTAGES.clone().requires_grad_()
    assert not F.evidence_delta(teacher, student).requires_grad
    assert not credit(advantages, teacher - student, 0.5, 0.2).requires_grad


@EVERY
def test_a_nan_of_the_teacher_is_passed_on(credit: Callable[..., Tensor]):
    advantages = torch.tensor([1.0, -1.0, 0.0])
    credited = credit(advantages, torch.full((3, 1), math.nan), 0.5, 0.2)
    unused = {F.rlsd_negative_only_credit: [False, True, False], F.rlrt_credit: [True, False, False]}
    assert credited.isnan().squeeze(1).tolist() == unused.get(credit, [True, True, True])


@EVERY
@PROPERTY
@given(seed=seeds)
def test_rows_and_tokens_do_not_see_each_other(credit: Callable[..., Tensor], seed: int):
    delta = random_delta(seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    whole = credit(ADVANTAGES, delta, 0.6, 0.2)
    assert torch.equal(credit(ADVANTAGES[order], delta[order], 0.6, 0.2), whole[order])
    padded = torch.nn.functional.pad(delta, (0, 3), value=math.nan)
    assert torch.equal(credit(ADVANTAGES, padded, 0.6, 0.2)[:, :5], whole)


@PROPERTY
@given(seed=seeds, scale=st.sampled_from([1.0, 1e4, math.inf]), epsilon=epsilons)
def test_weight_stays_within_its_bounds(seed: int, scale: float, epsilon: float):
    weight = F.evidence_weight(random_delta(seed, scale).float(), ADVANTAGES.float().unsqueeze(1), epsilon)
    assert weight.isfinite().all()
    assert weight.max() <= (1 + epsilon) * (1 + 1e-6)
    assert weight.min() >= max(0.0, 1 - epsilon) * (1 - 1e-6)
    assert (weight[ADVANTAGES == 0] == 1).all()


def test_from_epsilon_one_on_the_lower_side_is_open():
    weight = F.evidence_weight(torch.tensor([[-9.0, 9.0]], dtype=torch.float64), torch.tensor([[1.0]]), 1.0)
    assert weight.tolist() == [[pytest.approx(math.exp(-9), rel=1e-12), pytest.approx(2.0, rel=1e-12)]]


def test_one_sided_weight_binds_above_for_a_right_answer_and_below_for_a_wrong_one():
    delta = torch.tensor([[-1.0, 1.0]], dtype=torch.float64)
    right = F.one_sided_evidence_weight(delta, torch.tensor([[2.0]]), 0.2).tolist()[0]
    wrong = F.one_sided_evidence_weight(delta, torch.tensor([[-2.0]]), 0.2).tolist()[0]
    assert right == pytest.approx([math.exp(-1), 1.2])
    assert wrong == pytest.approx([math.exp(1), 0.8])


@pytest.mark.parametrize("delta", [1e30, -1e30, math.inf, -math.inf])
def test_one_sided_weight_is_finite(delta: float):
    for advantage in (1.0, -1.0, 0.0):
        weight = F.one_sided_evidence_weight(torch.tensor([[delta]]), torch.tensor([[advantage]]), 0.2)
        assert weight.isfinite().all()


@PROPERTY
@given(seed=seeds, epsilon=epsilons)
def test_clip_fraction_matches_the_loop(seed: int, epsilon: float):
    delta = random_delta(seed)
    mask = random_delta(seed + 1) > 0
    clipped = total = 0
    for a, row, kept in zip(ADVANTAGES.tolist(), delta.tolist(), mask.tolist(), strict=True):
        for d, keep in zip(row, kept, strict=True):
            weight = math.exp(sign(a) * d)
            total += keep
            clipped += keep and not 1 - epsilon <= weight <= 1 + epsilon
    fraction = F.evidence_clip_fraction(delta, ADVANTAGES.unsqueeze(1), epsilon, mask)
    assert fraction.item() == pytest.approx(clipped / max(total, 1), abs=1e-12)


def test_distillation_credit_is_the_log_ratio():
    teacher, student = random_delta(1), random_delta(2).requires_grad_()
    credit = F.distillation_credit(teacher, student)
    assert torch.equal(credit, teacher - student.detach())
    assert not credit.requires_grad


@PROPERTY
@given(seed=seeds, wrong=st.integers(1, 4))
def test_contrastive_evidence_matches_the_loop(seed: int, wrong: int):
    positive = -random_delta(seed).abs()
    negative = -random_delta(seed + 1, rows=4 * wrong).abs().reshape(4, wrong, 5)
    mask = torch.rand(4, wrong, generator=torch.Generator().manual_seed(seed)) < 0.6
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for b in range(4):
        siblings = [k for k in range(wrong) if mask[b, k]]
        for t in range(5):
            if siblings:
                mean = sum(math.exp(negative[b, k, t].item()) for k in siblings) / len(siblings)
                expected[b, t] = positive[b, t].item() - math.log(mean)
    torch.testing.assert_close(F.contrastive_evidence(positive, negative, mask), expected, rtol=1e-9, atol=1e-9)


def test_contrastive_evidence_ignores_what_stands_at_a_missing_context():
    positive, negative = torch.zeros(2, 3), torch.full((2, 1, 3), math.nan)
    assert torch.equal(F.contrastive_evidence(positive, negative, torch.zeros(2, 1)), torch.zeros(2, 3))
    assert F.contrastive_evidence(positive, negative, torch.ones(2, 1)).isnan().all()


def test_contrastive_evidence_is_detached():
    positive, negative = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 1, 2, requires_grad=True)
    assert not F.contrastive_evidence(positive, negative, torch.ones(1, 1)).requires_grad


def test_cepo_without_rejected_siblings_is_rlvr():
    evidence = F.contrastive_evidence(random_delta(1), random_delta(2).unsqueeze(1), torch.zeros(4, 1))
    assert torch.equal(F.rlsd_credit(ADVANTAGES, evidence, 0.7, 0.2), ADVANTAGES.unsqueeze(1).expand(4, 5))


def rlcsd(a: float, e: float, strength: float, temperature: float, threshold: float) -> float:
    bonus = strength * math.tanh(e / temperature)
    if abs(bonus) <= threshold:
        return a
    return max(a + bonus, 0.0) if a > 0 else min(a + bonus, 0.0) if a < 0 else 0.0


@PROPERTY
@given(seed=seeds, scale=st.sampled_from([0.01, 1.0]), strength=st.floats(0, 3), threshold=st.floats(0, 0.5))
def test_rlcsd_matches_the_loop(seed: int, scale: float, strength: float, threshold: float):
    delta = random_delta(seed, scale)
    bonus = F.rlcsd_bonus(delta, strength, 0.05)
    expected = loop(ADVANTAGES, delta, lambda a, e: rlcsd(a, e, strength, 0.05, threshold))
    credit = F.rlcsd_credit(ADVANTAGES, bonus, threshold)
    torch.testing.assert_close(credit, expected, rtol=1e-12, atol=1e-12)
    assert (credit * ADVANTAGES.unsqueeze(1) >= 0).all()
    selected = loop(ADVANTAGES, delta, lambda _, e: float(abs(strength * math.tanh(e / 0.05)) > threshold))
    assert torch.equal(F.rlcsd_selection(bonus, threshold).double(), selected)


def test_rlcsd_without_contrast_is_rlvr():
    credit = F.rlcsd_credit(ADVANTAGES, F.rlcsd_bonus(torch.zeros(4, 5, dtype=torch.float64), 0.5))
    assert torch.equal(credit, ADVANTAGES.unsqueeze(1).expand(4, 5))


def test_rlcsd_passes_a_nan_on_and_is_detached():
    delta = torch.tensor([[math.nan, 0.1]], requires_grad=True)
    credit = F.rlcsd_credit(torch.tensor([1.0], requires_grad=True), F.rlcsd_bonus(delta, 0.5))
    assert credit.isnan().tolist() == [[True, False]]
    assert not credit.requires_grad


@PROPERTY
@given(seed=seeds, coefficient=st.floats(0, 2), sharpness=st.floats(0, 10))
def test_sdar_matches_the_loop(seed: int, coefficient: float, sharpness: float):
    delta = random_delta(seed)
    student = -1 - torch.rand(4, 5, dtype=torch.float64)
    expected = loop(ADVANTAGES, delta, lambda _, d: coefficient * d / (1 + math.exp(-sharpness * d)))
    torch.testing.assert_close(F.sdar_term(student + delta, student, coefficient, sharpness), expected)
    gate = F.sdar_gate(delta, sharpness)
    torch.testing.assert_close(gate, loop(ADVANTAGES, delta, lambda _, d: 1 / (1 + math.exp(-sharpness * d))))


def test_sdar_pulls_as_an_advantage_of_the_gate_and_through_the_student_alone():
    teacher, student = ((-torch.rand(2, 3, dtype=torch.float64)).requires_grad_() for _ in range(2))
    F.sdar_term(teacher, student, 0.3, 5.0).sum().backward()
    gate = 0.3 / (1 + (-5 * (teacher - student)).exp())
    torch.testing.assert_close(student.grad, -gate.detach())
    assert teacher.grad is None


def test_sdar_with_teacher_equal_to_student_has_no_value_and_the_gradient_of_half_its_coefficient():
    student = torch.full((2, 3), -1.5, dtype=torch.float64, requires_grad=True)
    term = F.sdar_term(student.detach(), student, 0.01)
    assert torch.equal(term, torch.zeros_like(term))
    term.sum().backward()
    torch.testing.assert_close(student.grad, torch.full_like(student, -0.005))


def test_bad_arguments_say_what_to_set():
    delta = torch.zeros(4, 5)
    for epsilon in (-0.1, math.nan):
        with pytest.raises(ValueError, match=r"epsilon_w is .* set 0.2"):
            F.rlsd_credit(ADVANTAGES, delta, 0.5, epsilon)
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"lambda.* set 0 for plain RLVR"):
            F.rlsd_credit(ADVANTAGES, delta.double(), strength, 0.2)
