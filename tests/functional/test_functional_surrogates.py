"""Surrogates and KL estimators against loops, their gradients, and what each may not touch."""

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
LOW, HIGH = 0.2, 0.28

seeds = st.integers(0, 10_000)


def random_batch(seed: int, spread: float = 0.5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """policy_logprobs, old_logprobs, advantages and mask, each [3, 5]; every row has a token."""
    generator = torch.Generator().manual_seed(seed)
    policy = -torch.rand(3, 5, generator=generator, dtype=torch.float64) * 3
    old = policy + spread * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    advantages = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    advantages[0, 0] = 0
    lengths = torch.randint(1, 6, (3, 1), generator=generator)
    return policy, old, advantages, torch.arange(5) < lengths


def loop(formula: Callable[..., float], *tensors: Tensor) -> Tensor:
    flat = zip(*(t.flatten().tolist() for t in tensors), strict=True)
    return torch.tensor([formula(*values) for values in flat], dtype=torch.float64).reshape(tensors[0].shape)


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def ppo(ratio: float, a: float, low: float = LOW, high: float = HIGH) -> float:
    return -min(ratio * a, clip(ratio, 1 - low, 1 + high) * a)


def dual_ppo(p: float, o: float, a: float) -> float:
    loss = ppo(math.exp(p - o), a)
    return min(loss, -1.5 * a) if a < 0 else loss


LOOPS: dict[str, tuple[Callable[..., Tensor], Callable[[float, float, float], float]]] = {
    "ppo": (F.ppo_clip_loss, lambda p, o, a: ppo(math.exp(p - o), a)),
    "dual": (lambda p, o, a: F.dual_clip_ppo_loss(p, o, a, dual_clip=1.5), dual_ppo),
    "cispo": (
        lambda p, o, a: F.cispo_loss(p, o, a, epsilon_low=0.5, epsilon_high=0.5),
        lambda p, o, a: -clip(math.exp(p - o), 0.5, 1.5) * a * p,
    ),
    "reinforce": (lambda p, _, a: F.reinforce_loss(p, a), lambda p, o, a: -a * p),
}


@pytest.mark.parametrize("name", LOOPS)
@PROPERTY
@given(seed=seeds, spread=st.sampled_from([0.1, 0.5, 3.0]))
def test_matches_the_loop(name: str, seed: int, spread: float):
    policy, old, advantages, _ = random_batch(seed, spread)
    surrogate, formula = LOOPS[name]
    torch.testing.assert_close(surrogate(policy, old, advantages), loop(formula, policy, old, advantages))


@PROPERTY
@given(seed=seeds, spread=st.sampled_from([1e-4, 1e-2, 1.0]))
def test_gspo_matches_the_loop(seed: int, spread: float):
    policy, old, advantages, mask = random_batch(seed, spread)
    losses = F.gspo_loss(policy, old, advantages, mask, epsilon_low=0.1, epsilon_high=0.2)
    for p, o, a, m, row in zip(policy.tolist(), old.tolist(), advantages.tolist(), mask.tolist(), losses, strict=True):
        steps = [x - y for x, y, keep in zip(p, o, m, strict=True) if keep]
        ratio = math.exp(sum(steps) / len(steps))
        assert row.tolist() == pytest.approx([ppo(ratio, x, 0.1, 0.2) for x in a], rel=1e-9, abs=1e-12)


def test_gspo_with_one_advantage_per_sequence_has_the_gradient_of_the_sequence_form():
    policy, old, advantages, mask = random_batch(3, 0.3)
    advantages = advantages[:, 1:2].expand(3, 5)
    policy.requires_grad_()
    weights, count = F.sequence_mean_weights(mask.double()), F.sequence_count(mask)
    token_form = F.reduce(F.gspo_loss(policy, old, advantages, mask, 0.2, 0.2), weights, count)
    ratio = F.masked_mean(policy - old, mask, dim=1).exp()
    row = advantages[:, 0]
    sequence_form = -torch.minimum(ratio * row, ratio.clamp(0.8, 1.2) * row).mean()
    torch.testing.assert_close(token_form, sequence_form)
    gradients = [torch.autograd.grad(loss, policy)[0] for loss in (token_form, sequence_form)]
    assert gradients[0].any()
    torch.testing.assert_close(*gradients)


ALL: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ppo": F.ppo_clip_loss,
    "dual": F.dual_clip_ppo_loss,
    "gspo": lambda p, o, a: F.gspo_loss(p, o, a, torch.ones_like(p)),
    "cispo": F.cispo_loss,
    "reinforce": lambda p, _, a: F.reinforce_loss(p, a),
}


@pytest.mark.parametrize("name", ALL)
def test_on_policy_every_surrogate_is_the_policy_gradient(name: str):
    policy, _, advantages, _ = random_batch(1)
    policy.requires_grad_()
    ALL[name](policy, policy.detach(), advantages).sum().backward()
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, -advantages)


@pytest.mark.parametrize("name", ALL)
def test_gradient_flows_through_the_policy_alone(name: str):
    policy, old, advantages, _ = (t.requires_grad_() if t.is_floating_point() else t for t in random_batch(2))
    ALL[name](policy, old, advantages).sum().backward()
    assert policy.grad is not None
    assert old.grad is None
    assert advantages.grad is None


@pytest.mark.parametrize("name", ["ppo", "dual"])
def test_gradcheck_away_from_the_kinks(name: str):
    policy, old, advantages, _ = random_batch(7, 0.5)
    assert torch.autograd.gradcheck(lambda p: ALL[name](p, old, advantages), policy.requires_grad_())


def test_gradient_of_cispo_is_the_clipped_ratio_times_the_advantage():
    policy, old, advantages, _ = random_batch(4, 2.0)
    policy.requires_grad_()
    F.cispo_loss(policy, old, advantages, epsilon_high=0.5).sum().backward()
    expected = loop(lambda p, o, a: -min(math.exp(p - o), 1.5) * a, policy, old, advantages)
    torch.testing.assert_close(policy.grad, expected)


@PROPERTY
@given(seed=seeds)
def test_clipped_tokens_are_those_without_a_gradient(seed: int):
    policy, old, advantages, mask = random_batch(seed, 0.5)
    policy.requires_grad_()
    F.ppo_clip_loss(policy, old, advantages).sum().backward()
    assert policy.grad is not None
    clipped = F.clip_indicator(policy, old, advantages)
    assert torch.equal(clipped == 1, (policy.grad == 0) & (advantages != 0))
    kept = [c for c, m in zip(clipped.flatten().tolist(), mask.flatten().tolist(), strict=True) if m]
    fraction = F.clip_fraction(policy, old, advantages, mask)
    assert fraction.item() == pytest.approx(sum(kept) / len(kept))


def test_zero_advantage_gives_zero_loss_and_gradient():
    policy, old, advantages, _ = random_batch(5)
    for surrogate in ALL.values():
        leaf = policy.clone().requires_grad_()
        loss = surrogate(leaf, old, torch.zeros_like(advantages))
        loss.sum().backward()
        assert leaf.grad is not None
        assert not loss.any()
        assert not leaf.grad.any()


@PROPERTY
@given(seed=seeds, cap=st.floats(0.1, 10))
def test_truncated_importance_weights_match_the_loop(seed: int, cap: float):
    policy, rollout, _, _ = random_batch(seed, 2.0)
    weights = F.truncated_importance_weights(policy.requires_grad_(), rollout, cap)
    torch.testing.assert_close(weights, loop(lambda p, r: min(math.exp(p - r), cap), policy, rollout))
    assert not weights.requires_grad


def test_truncated_importance_weights_do_not_overflow():
    weights = F.truncated_importance_weights(torch.tensor([[0.0]]), torch.tensor([[-1e6]]), 2.0)
    assert weights.item() == pytest.approx(2.0)


ESTIMATORS: dict[Callable[[Tensor, Tensor], Tensor], Callable[[float, float], float]] = {
    F.kl_k1: lambda p, r: p - r,
    F.kl_k2: lambda p, r: (p - r) ** 2 / 2,
    F.kl_k3: lambda p, r: math.exp(r - p) - 1 - (r - p),
}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda f: f.__name__)
def test_kl_estimators_match_the_loop_and_detach_the_reference(estimator: Callable[[Tensor, Tensor], Tensor]):
    policy, reference, _, _ = random_batch(6)
    torch.testing.assert_close(estimator(policy, reference), loop(ESTIMATORS[estimator], policy, reference))
    reference.requires_grad_()
    assert not estimator(policy, reference).requires_grad
    assert torch.autograd.gradcheck(lambda p: estimator(p, reference.detach()), policy.requires_grad_())


def exact_policies() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    return logits[0].requires_grad_(), logits[1].log_softmax(-1)


@pytest.mark.parametrize("estimator", [F.kl_k1, F.kl_k3], ids=lambda f: f.__name__)
def test_k1_and_k3_are_unbiased(estimator: Callable[[Tensor, Tensor], Tensor]):
    logits, reference = exact_policies()
    policy = logits.log_softmax(-1)
    expectation = (policy.exp() * estimator(policy, reference)).sum()
    torch.testing.assert_close(expectation, (policy.exp() * (policy - reference)).sum())


def test_expected_gradients_of_the_estimators_are_what_the_docstring_says():
    logits, reference = exact_policies()
    policy = logits.log_softmax(-1)
    reverse = (policy.exp() * (policy - reference)).sum()
    forward = (reference.exp() * (reference - policy)).sum()
    expected = {F.kl_k1: torch.zeros(6, dtype=torch.float64)}
    expected[F.kl_k2] = torch.autograd.grad(reverse, logits, retain_graph=True)[0]
    expected[F.kl_k3] = torch.autograd.grad(forward, logits, retain_graph=True)[0]
    for estimator, gradient in expected.items():
        loss = (policy.detach().exp() * estimator(policy, reference)).sum()
        torch.testing.assert_close(torch.autograd.grad(loss, logits, retain_graph=True)[0], gradient)


def test_bad_arguments_say_what_to_set():
    policy, old, advantages, _ = random_batch(0)
    with pytest.raises(ValueError, match=r"dual_clip is 1.0.* set 3.0"):
        F.dual_clip_ppo_loss(policy, old, advantages, dual_clip=1.0)
    with pytest.raises(ValueError, match="cap is 0"):
        F.truncated_importance_weights(policy, old, 0)
