"""Surrogates against loops, their gradients, and what each may not touch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives import parts

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


LOOPS: dict[str, tuple[parts.Surrogate, Callable[[float, float, float], float]]] = {
    "ppo": (parts.PPOClip(), lambda p, o, a: ppo(math.exp(p - o), a)),
    "dual": (parts.DualClip(dual_clip=1.5), dual_ppo),
    "cispo": (parts.CISPO(0.5, 0.5), lambda p, o, a: -clip(math.exp(p - o), 0.5, 1.5) * a * p),
    "reinforce": (parts.Reinforce(), lambda p, o, a: -a * p),
}


@pytest.mark.parametrize("name", LOOPS)
@PROPERTY
@given(seed=seeds, spread=st.sampled_from([0.1, 0.5, 3.0]))
def test_matches_the_loop(name: str, seed: int, spread: float):
    policy, old, advantages, mask = random_batch(seed, spread)
    surrogate, formula = LOOPS[name]
    torch.testing.assert_close(surrogate(policy, old, advantages, mask), loop(formula, policy, old, advantages))


@PROPERTY
@given(seed=seeds, spread=st.sampled_from([1e-4, 1e-2, 1.0]))
def test_gspo_matches_the_loop(seed: int, spread: float):
    policy, old, advantages, mask = random_batch(seed, spread)
    losses = parts.GSPO(0.1, 0.2)(policy, old, advantages, mask)
    for p, o, a, m, row in zip(policy.tolist(), old.tolist(), advantages.tolist(), mask.tolist(), losses, strict=True):
        steps = [x - y for x, y, keep in zip(p, o, m, strict=True) if keep]
        ratio = math.exp(sum(steps) / len(steps))
        assert row.tolist() == pytest.approx([ppo(ratio, x, 0.1, 0.2) for x in a], rel=1e-9, abs=1e-12)


def test_gspo_with_one_advantage_per_sequence_has_the_gradient_of_the_sequence_form():
    policy, old, advantages, mask = random_batch(3, 0.3)
    advantages = advantages[:, 1:2].expand(3, 5)
    policy.requires_grad_()
    token_form = parts.SequenceMean()(parts.GSPO(0.2, 0.2)(policy, old, advantages, mask), mask)
    ratio = F.masked_mean(policy - old, mask, dim=1).exp()
    row = advantages[:, 0]
    sequence_form = -torch.minimum(ratio * row, ratio.clamp(0.8, 1.2) * row).mean()
    torch.testing.assert_close(token_form, sequence_form)
    gradients = [torch.autograd.grad(loss, policy)[0] for loss in (token_form, sequence_form)]
    assert gradients[0].any()
    torch.testing.assert_close(*gradients)


ALL: dict[str, parts.Surrogate] = {
    "ppo": parts.PPOClip(),
    "dual": parts.DualClip(dual_clip=1.5),
    "gspo": parts.GSPO(0.2, 0.28),
    "cispo": parts.CISPO(),
    "reinforce": parts.Reinforce(),
}
EVERY = pytest.mark.parametrize("name", ALL)


@EVERY
def test_on_policy_every_surrogate_is_the_policy_gradient(name: str):
    policy, _, advantages, mask = random_batch(1)
    policy.requires_grad_()
    ALL[name](policy, policy.detach(), advantages, mask).sum().backward()
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, -advantages)


@EVERY
def test_gradient_flows_through_the_policy_alone(name: str):
    policy, old, advantages, mask = (t.requires_grad_() if t.is_floating_point() else t for t in random_batch(2))
    ALL[name](policy, old, advantages, mask).sum().backward()
    assert policy.grad is not None
    assert old.grad is None
    assert advantages.grad is None


@pytest.mark.parametrize("name", ["ppo", "dual"])
def test_gradcheck_away_from_the_kinks(name: str):
    policy, old, advantages, mask = random_batch(7, 0.5)
    assert torch.autograd.gradcheck(lambda p: ALL[name](p, old, advantages, mask), policy.requires_grad_())


def test_gradient_of_cispo_is_the_clipped_ratio_times_the_advantage():
    policy, old, advantages, mask = random_batch(4, 2.0)
    policy.requires_grad_()
    parts.CISPO(epsilon_high=0.5)(policy, old, advantages, mask).sum().backward()
    expected = loop(lambda p, o, a: -min(math.exp(p - o), 1.5) * a, policy, old, advantages)
    torch.testing.assert_close(policy.grad, expected)


@pytest.mark.parametrize("name", ["ppo", "dual", "gspo"])
@PROPERTY
@given(seed=seeds, spread=st.sampled_from([0.2, 0.5, 1.5]))
def test_clipped_tokens_are_those_without_a_gradient(name: str, seed: int, spread: float):
    policy, old, advantages, mask = random_batch(seed, spread)
    policy.requires_grad_()
    ALL[name](policy, old, advantages, mask).sum().backward()
    assert policy.grad is not None
    clipped = ALL[name].clipped(policy, old, advantages, mask)
    assert clipped is not None
    assert clipped.dtype == torch.bool
    assert torch.equal(clipped, (policy.grad == 0) & (advantages != 0))


@pytest.mark.parametrize("name", ["cispo", "reinforce"])
def test_a_surrogate_that_removes_no_gradient_has_no_clip_mask(name: str):
    assert ALL[name].clipped(*random_batch(0)) is None


def test_zero_advantage_gives_zero_loss_and_gradient():
    policy, old, advantages, mask = random_batch(5)
    for surrogate in ALL.values():
        leaf = policy.clone().requires_grad_()
        loss = surrogate(leaf, old, torch.zeros_like(advantages), mask)
        loss.sum().backward()
        assert leaf.grad is not None
        assert not loss.any()
        assert not leaf.grad.any()


@pytest.mark.parametrize("surrogate", [parts.PPOClip, parts.DualClip, parts.GSPO, parts.CISPO])
@pytest.mark.parametrize("clip", [(-0.1, 0.2), (1.1, 0.2), (0.2, -0.1), (math.nan, 0.2)])
def test_a_clip_without_sense_is_refused_when_it_is_made(surrogate: type, clip: tuple[float, float]):
    with pytest.raises(ValueError, match=r"epsilon_low is .* set 0.2 and 0.28"):
        surrogate(*clip)


@pytest.mark.parametrize("dual_clip", [1.0, math.nan])
def test_a_dual_clip_without_room_is_refused(dual_clip: float):
    with pytest.raises(ValueError, match=r"dual_clip is .* set 3.0"):
        parts.DualClip(dual_clip=dual_clip)


def test_the_dual_clip_bounds_the_loss_of_bad_tokens():
    logprobs, old = torch.zeros(1, 1), torch.full((1, 1), -3.0)
    bad, mask = -torch.ones(1, 1), torch.ones(1, 1)
    assert parts.DualClip(dual_clip=3.0)(logprobs, old, bad, mask).item() == 3.0
    assert parts.PPOClip()(logprobs, old, bad, mask).item() == pytest.approx(math.exp(3))
