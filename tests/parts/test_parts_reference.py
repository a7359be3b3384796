"""KL estimators against loops, and their expectations and gradients against the exact divergences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlsd_pl.objectives.parts import K1, K2, K3, ReferenceKL

LOOPS: dict[ReferenceKL, Callable[[float, float], float]] = {
    K1(): lambda p, r: p - r,
    K2(): lambda p, r: (p - r) ** 2 / 2,
    K3(): lambda p, r: math.exp(r - p) - 1 - (r - p),
}
EVERY = pytest.mark.parametrize("estimator", LOOPS, ids=lambda part: type(part).__name__)


def exact_policies() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    return logits[0].requires_grad_(), logits[1].log_softmax(-1)


@EVERY
def test_matches_the_loop_and_detaches_the_reference(estimator: ReferenceKL):
    policy, reference = -3 * torch.rand(2, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    expected = [LOOPS[estimator](p, r) for p, r in zip(policy.tolist(), reference.tolist(), strict=True)]
    torch.testing.assert_close(estimator(policy, reference), torch.tensor(expected, dtype=torch.float64))
    reference.requires_grad_()
    assert not estimator(policy, reference).requires_grad
    assert torch.autograd.gradcheck(lambda p: estimator(p, reference.detach()), policy.requires_grad_())


@pytest.mark.parametrize("estimator", [K1(), K3()], ids=lambda part: type(part).__name__)
def test_k1_and_k3_are_unbiased(estimator: ReferenceKL):
    logits, reference = exact_policies()
    policy = logits.log_softmax(-1)
    expectation = (policy.exp() * estimator(policy, reference)).sum()
    torch.testing.assert_close(expectation, (policy.exp() * (policy - reference)).sum())


def test_expected_gradients_are_what_the_docstring_says():
    logits, reference = exact_policies()
    policy = logits.log_softmax(-1)
    reverse = (policy.exp() * (policy - reference)).sum()
    forward = (reference.exp() * (reference - policy)).sum()
    expected = {K1(): torch.zeros(6, dtype=torch.float64)}
    expected[K2()] = torch.autograd.grad(reverse, logits, retain_graph=True)[0]
    expected[K3()] = torch.autograd.grad(forward, logits, retain_graph=True)[0]
    for estimator, gradient in expected.items():
        loss = (policy.detach().exp() * estimator(policy, reference)).sum()
        torch.testing.assert_close(torch.autograd.grad(loss, logits, retain_graph=True)[0], gradient)
