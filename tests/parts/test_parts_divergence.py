"""Divergences over the vocabulary against loops over plain floats, their gradients, and their numerics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl.objectives.parts import Divergence, EntryClippedJSD, GeneralizedJSD, TopKRenormalized, TopKTail

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
    torch.testing.assert_close(GeneralizedJSD(beta)(student, teacher), expected)


def likeliest(student: Tensor, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda v: -row[v])[:k] for row in student.tolist()]


@PROPERTY
@given(seed=seeds, beta=betas, k=st.integers(1, 6))
def test_topk_divergences_match_the_loop(seed: int, beta: float, k: int):
    student, teacher = random_logits(seed)
    kept = likeliest(student, k)
    tail = by_rows(student, teacher, lambda s, t, n: jsd(coarsen(s, kept[n]), coarsen(t, kept[n]), beta))
    torch.testing.assert_close(TopKTail(beta, k)(student, teacher), tail)
    renormalized = by_rows(student, teacher, lambda s, t, n: jsd(condition(s, kept[n]), condition(t, kept[n]), beta))
    torch.testing.assert_close(TopKRenormalized(beta, k)(student, teacher), renormalized)


@PROPERTY
@given(seed=seeds, beta=betas, k=st.integers(7, 100))
def test_with_the_whole_vocabulary_kept_all_three_agree(seed: int, beta: float, k: int):
    student, teacher = random_logits(seed)
    whole = GeneralizedJSD(beta)(student, teacher)
    torch.testing.assert_close(TopKTail(beta, k)(student, teacher), whole)
    torch.testing.assert_close(TopKRenormalized(beta, k)(student, teacher), whole)


@PROPERTY
@given(seed=seeds, beta=betas, k=st.integers(1, 6))
def test_coarsening_loses_divergence_and_none_is_negative(seed: int, beta: float, k: int):
    student, teacher = random_logits(seed)
    coarse = TopKTail(beta, k)(student, teacher)
    assert (coarse <= GeneralizedJSD(beta)(student, teacher) + 1e-12).all()
    assert (coarse >= -1e-12).all()


@PROPERTY
@given(seed=seeds, beta=betas, shift=st.floats(-50, 50))
def test_equal_distributions_have_none_and_shifts_change_nothing(seed: int, beta: float, shift: float):
    student, teacher = random_logits(seed)
    assert GeneralizedJSD(beta)(student, student + shift).abs().max() < 1e-9
    shifted = GeneralizedJSD(beta)(student + shift, teacher - shift)
    torch.testing.assert_close(shifted, GeneralizedJSD(beta)(student, teacher))


TERMS: dict[str, Callable[[float], Divergence]] = {
    "full": GeneralizedJSD,
    "tail": lambda beta: TopKTail(beta, k=3),
    "renormalized": lambda beta: TopKRenormalized(beta, k=3),
}


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("term", TERMS)
def test_gradcheck_of_the_student(term: str, beta: float):
    student, teacher = random_logits(4)
    assert torch.autograd.gradcheck(lambda s: TERMS[term](beta)(s, teacher), student.requires_grad_())


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("term", TERMS)
def test_the_teacher_gets_no_gradient(term: str, beta: float):
    student, teacher = (logits.requires_grad_() for logits in random_logits(4))
    TERMS[term](beta)(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().max() > 1e-3


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("term", TERMS)
def test_float32_follows_float64_at_peaked_distributions(term: str, beta: float):
    student, teacher = (logits.requires_grad_() for logits in random_logits(6, rows=50, vocabulary=40, scale=15.0))
    narrow = [logits.detach().float().requires_grad_() for logits in (student, teacher)]
    exact, rounded = TERMS[term](beta)(student, teacher), TERMS[term](beta)(*narrow)
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
    exact = TopKTail(beta, 3)(student.double(), teacher.double())
    torch.testing.assert_close(TopKTail(beta, 3)(student, teacher).double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("term", [GeneralizedJSD, TopKTail, TopKRenormalized])
@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_a_beta_without_sense_is_refused_when_it_is_set(term: type, beta: float):
    with pytest.raises(ValueError, match=r"beta is .* set 0 for forward KL"):
        term(beta)


@pytest.mark.parametrize("term", [TopKTail, TopKRenormalized])
def test_no_tokens_are_refused(term: type):
    with pytest.raises(ValueError, match=r"k is 0.* for example 100"):
        term(0.5, k=0)


@PROPERTY
@given(seeds, betas, st.sampled_from([0.01, 0.05, 0.3]))
def test_a_cut_by_entry_is_the_sum_of_the_cut_summands(seed: int, beta: float, clip: float):
    student, teacher = random_logits(seed)

    def formula(s: list[float], t: list[float], row: int) -> float:
        mixture = [(1 - beta) * x + beta * y for x, y in zip(s, t, strict=True)]
        summands = [
            y * math.log(y / x) if beta == 0 else x * math.log(x / y) if beta == 1
            else beta * y * math.log(y / z) + (1 - beta) * x * math.log(x / z)
            for x, y, z in zip(s, t, mixture, strict=True)
        ]  # fmt: skip
        return sum(min(summand, clip) for summand in summands)

    got = EntryClippedJSD(beta, clip)(student, teacher)
    torch.testing.assert_close(got, by_rows(student, teacher, formula), rtol=1e-9, atol=1e-12)
    whole = GeneralizedJSD(beta)(student, teacher)
    assert (got <= whole + 1e-12).all()
    torch.testing.assert_close(EntryClippedJSD(beta, math.inf)(student, teacher), whole, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_a_cut_is_that_of_the_entries_below_it():
    student, teacher = random_logits(3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: EntryClippedJSD(0.0, 0.05)(s, teacher), (student,))
    low = torch.tensor([[0.0, -9.0]], dtype=torch.float64, requires_grad=True)
    high = torch.tensor([[-9.0, 0.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(EntryClippedJSD(0.0, 0.05)(low, high).sum(), low)
    (whole,) = torch.autograd.grad(GeneralizedJSD(0.0)(low, high).sum(), low)
    assert gradient.abs().max() < 1e-3 < whole.abs().max()
