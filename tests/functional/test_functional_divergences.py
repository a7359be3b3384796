"""Divergences against loops over plain floats, their gradients, and the numerics at the ends of beta."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl import functional as F

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
BETAS = [0.0, 0.1, 0.5, 0.9, 1.0]

seeds = st.integers(0, 10_000)
betas = st.sampled_from(BETAS)


def random_logits(seed: int, rows: int = 3, vocabulary: int = 7, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = scale * torch.randn(2, rows, vocabulary, generator=generator, dtype=torch.float64)
    return pair[0], pair[1]


def softmax(logits: Sequence[float]) -> list[float]:
    exponentials = [math.exp(z - max(logits)) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def kl(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def jsd(student: Sequence[float], teacher: Sequence[float], beta: float) -> float:
    if beta == 0:
        return kl(teacher, student)
    if beta == 1:
        return kl(student, teacher)
    mixture = [(1 - beta) * s + beta * t for s, t in zip(student, teacher, strict=True)]
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


def coarsen(p: Sequence[float], kept: Sequence[int]) -> list[float]:
    return [p[i] for i in kept] + [sum(x for i, x in enumerate(p) if i not in kept)]


def condition(p: Sequence[float], kept: Sequence[int]) -> list[float]:
    return [p[i] / sum(p[j] for j in kept) for i in kept]


def by_rows(student: Tensor, teacher: Tensor, formula: Callable[[list[float], list[float], int], float]) -> Tensor:
    pairs = zip(student.tolist(), teacher.tolist(), strict=True)
    return torch.tensor([formula(softmax(s), softmax(t), n) for n, (s, t) in enumerate(pairs)], dtype=torch.float64)


@PROPERTY
@given(seed=seeds, beta=betas)
def test_generalized_jsd_matches_the_loop(seed: int, beta: float):
    student, teacher = random_logits(seed)
    expected = by_rows(student, teacher, lambda s, t, _: jsd(s, t, beta))
    torch.testing.assert_close(F.generalized_jsd(student, teacher, beta), expected)


@PROPERTY
@given(seed=seeds, beta=betas, k=st.integers(1, 6))
def test_topk_divergences_match_the_loop(seed: int, beta: float, k: int):
    student, teacher = random_logits(seed)
    indices = F.topk_indices(student, k)
    kept = indices.tolist()
    tail = by_rows(student, teacher, lambda s, t, n: jsd(coarsen(s, kept[n]), coarsen(t, kept[n]), beta))
    torch.testing.assert_close(F.topk_tail_jsd(student, teacher, indices, beta), tail)
    renormalized = by_rows(student, teacher, lambda s, t, n: jsd(condition(s, kept[n]), condition(t, kept[n]), beta))
    torch.testing.assert_close(F.topk_renormalized_jsd(student, teacher, indices, beta), renormalized)


def test_topk_indices_are_the_most_likely_tokens_of_the_side_they_are_taken_from():
    student, teacher = random_logits(5)
    for logits in (student, teacher):
        expected = [sorted(range(7), key=lambda v: -row[v])[:3] for row in logits.tolist()]
        assert [sorted(row) for row in F.topk_indices(logits, 3).tolist()] == [sorted(row) for row in expected]


@PROPERTY
@given(seed=seeds, beta=betas, k=st.integers(7, 100))
def test_with_the_whole_vocabulary_kept_all_three_agree(seed: int, beta: float, k: int):
    student, teacher = random_logits(seed)
    indices = F.topk_indices(student, k)
    whole = F.generalized_jsd(student, teacher, beta)
    torch.testing.assert_close(F.topk_tail_jsd(student, teacher, indices, beta), whole)
    torch.testing.assert_close(F.topk_renormalized_jsd(student, teacher, indices, beta), whole)


@PROPERTY
@given(seed=seeds, beta=betas, k=st.integers(1, 6))
def test_coarsening_loses_divergence_and_none_is_negative(seed: int, beta: float, k: int):
    student, teacher = random_logits(seed)
    whole = F.generalized_jsd(student, teacher, beta)
    coarse = F.topk_tail_jsd(student, teacher, F.topk_indices(teacher, k), beta)
    assert (coarse <= whole + 1e-12).all()
    assert (coarse >= -1e-12).all()


@PROPERTY
@given(seed=seeds, beta=betas, shift=st.floats(-50, 50))
def test_equal_distributions_have_none_and_shifts_change_nothing(seed: int, beta: float, shift: float):
    student, teacher = random_logits(seed)
    assert F.generalized_jsd(student, student + shift, beta).abs().max() < 1e-9
    shifted = F.generalized_jsd(student + shift, teacher - shift, beta)
    torch.testing.assert_close(shifted, F.generalized_jsd(student, teacher, beta))


def test_swapping_the_sides_mirrors_beta():
    student, teacher = random_logits(8)
    for beta in BETAS:
        mirrored = F.generalized_jsd(teacher, student, 1 - beta)
        torch.testing.assert_close(F.generalized_jsd(student, teacher, beta), mirrored)


def test_near_the_ends_the_jsd_over_its_weight_is_the_kl():
    student, teacher = random_logits(9)
    small = 1e-6
    forward = F.generalized_jsd(student, teacher, small) / small
    torch.testing.assert_close(forward, F.generalized_jsd(student, teacher, 0.0), rtol=1e-3, atol=1e-4)
    reverse = F.generalized_jsd(student, teacher, 1 - small) / small
    torch.testing.assert_close(reverse, F.generalized_jsd(student, teacher, 1.0), rtol=1e-3, atol=1e-4)


TERMS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "full": F.generalized_jsd,
    "tail": lambda s, t, beta: F.topk_tail_jsd(s, t, F.topk_indices(s, 3), beta),
    "renormalized": lambda s, t, beta: F.topk_renormalized_jsd(s, t, F.topk_indices(s, 3), beta),
}


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("term", TERMS)
def test_gradcheck_of_the_student(term: str, beta: float):
    student, teacher = random_logits(4)
    assert torch.autograd.gradcheck(lambda s: TERMS[term](s, teacher, beta), student.requires_grad_())


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("term", TERMS)
def test_the_teacher_gets_no_gradient(term: str, beta: float):
    student, teacher = (logits.requires_grad_() for logits in random_logits(4))
    TERMS[term](student, teacher, beta).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().max() > 1e-3


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("term", TERMS)
def test_float32_follows_float64_at_peaked_distributions(term: str, beta: float):
    student, teacher = (logits.requires_grad_() for logits in random_logits(6, rows=50, vocabulary=40, scale=15.0))
    narrow = [logits.detach().float().requires_grad_() for logits in (student, teacher)]
    exact, rounded = TERMS[term](student, teacher, beta), TERMS[term](*narrow, beta)
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-5, atol=1e-5)
    exact.sum().backward()
    rounded.sum().backward()
    assert narrow[0].grad is not None
    torch.testing.assert_close(narrow[0].grad.double(), student.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beta", BETAS)
def test_the_tail_of_a_certain_student_is_exact_in_float32(beta: float):
    # The three tokens hold all but e^-22 of the student's mass: 1 - sum(p) is 0 in float32, and its log is not -22.
    student = torch.tensor([[20.0, 19.0, 18.0, -3.0, -3.0]])
    teacher = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]])
    indices = F.topk_indices(student, 3)
    exact = F.topk_tail_jsd(student.double(), teacher.double(), indices, beta)
    torch.testing.assert_close(F.topk_tail_jsd(student, teacher, indices, beta).double(), exact, rtol=1e-6, atol=1e-6)


def test_bad_arguments_say_what_to_set():
    student, teacher = random_logits(0)
    for beta in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"beta is .* set 0 for forward KL"):
            F.generalized_jsd(student, teacher, beta)
    with pytest.raises(ValueError, match="k is 0"):
        F.topk_indices(student, 0)
