"""The divergence kernels against loops over plain floats, and at the ends of beta."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl import functional as F

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
BETAS = [0.0, 0.1, 0.5, 0.9, 1.0]

seeds = st.integers(0, 10_000)


def random_logprobs(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = (2 * torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)).log_softmax(-1)
    return pair[0], pair[1]


def kl_loop(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))


def jsd_loop(student: Sequence[float], teacher: Sequence[float], beta: float) -> float:
    if beta in (0, 1):
        return kl_loop(student, teacher) if beta else kl_loop(teacher, student)
    pairs = zip(student, teacher, strict=True)
    mixture = [math.log((1 - beta) * math.exp(s) + beta * math.exp(t)) for s, t in pairs]
    return beta * kl_loop(teacher, mixture) + (1 - beta) * kl_loop(student, mixture)


@PROPERTY
@given(seed=seeds, beta=st.sampled_from(BETAS))
def test_jsd_matches_the_loop(seed: int, beta: float):
    student, teacher = random_logprobs(seed)
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = torch.tensor([jsd_loop(s, t, beta) for s, t in rows], dtype=torch.float64)
    torch.testing.assert_close(F.jsd(student, teacher, beta), expected)
    assert F.jsd(student, student, beta).abs().max() < 1e-9


@PROPERTY
@given(seed=seeds)
def test_kl_matches_the_loop_and_is_never_negative(seed: int):
    p, q = random_logprobs(seed)
    expected = [kl_loop(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    assert F.kl(p, q).tolist() == pytest.approx(expected)
    assert (F.kl(p, q) >= 0).all()


def test_swapping_the_sides_mirrors_beta():
    student, teacher = random_logprobs(8)
    for beta in BETAS:
        torch.testing.assert_close(F.jsd(student, teacher, beta), F.jsd(teacher, student, 1 - beta))


def test_near_the_ends_the_jsd_over_its_weight_is_the_kl():
    student, teacher = random_logprobs(9)
    small = 1e-6
    torch.testing.assert_close(F.jsd(student, teacher, small) / small, F.kl(teacher, student), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(F.jsd(student, teacher, 1 - small) / small, F.kl(student, teacher), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("beta", BETAS)
def test_gradcheck(beta: float):
    student, teacher = (x.requires_grad_() for x in random_logprobs(4))
    assert torch.autograd.gradcheck(lambda s, t: F.jsd(s, t, beta), (student, teacher))


@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_a_beta_without_sense_is_refused(beta: float):
    with pytest.raises(ValueError, match=r"beta is .* set 0 for forward KL"):
        F.jsd(*random_logprobs(0), beta)
