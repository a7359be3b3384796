"""Policy-gradient surrogates: per-token losses [B, T] whose gradient is that of the update, not yet reduced.

``old_logprobs`` are those of the policy that sampled; with one update per rollout they are the detached current ones,
the ratio ``rho = exp(policy - old)`` is 1 and clipping is idle. Advantages [B, T] and old log-probs get no gradient.
Losses at padding are meaningless; the reduction drops them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlsd_pl.functional.masking import masked_mean


def ppo_clip_loss(
    policy_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
) -> Tensor:
    """``-min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A)``.

    Source: PPO, arXiv:1707.06347, equation 7; the higher upper bound from DAPO, arXiv:2503.14476.

    Args:
        policy_logprobs: [B, T], with gradient.
        old_logprobs: [B, T].
        advantages: [B, T].
        epsilon_low: in [0, 1].
        epsilon_high: >= 0.

    Returns:
        [B, T].
    """
    ratio = _ratio(policy_logprobs, old_logprobs)
    return _clipped_loss(ratio, advantages, epsilon_low, epsilon_high)


def dual_clip_ppo_loss(
    policy_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    dual_clip: float = 3.0,
) -> Tensor:
    """PPO clip, and for A < 0 the loss capped at ``-dual_clip * A``, where PPO leaves a large ratio unbounded.

    Source: dual-clip PPO, arXiv:1912.09729.

    Args:
        policy_logprobs: [B, T], with gradient.
        old_logprobs: [B, T].
        advantages: [B, T].
        epsilon_low: in [0, 1].
        epsilon_high: >= 0.
        dual_clip: largest ratio at A < 0; > 1.

    Returns:
        [B, T].
    """
    if not dual_clip > 1:
        raise ValueError(f"dual_clip is {dual_clip}, expected more than 1; set 3.0, or use the plain PPO clip")
    loss = ppo_clip_loss(policy_logprobs, old_logprobs, advantages, epsilon_low, epsilon_high)
    advantages = advantages.detach()
    return torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)


def gspo_loss(
    policy_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    epsilon_low: float = 3e-4,
    epsilon_high: float = 4e-4,
) -> Tensor:
    """PPO clip on the sequence ratio ``s = exp(mean_t log rho_t)``, in the token form ``sg(s) * pi_t / sg(pi_t)``.

    The token form has the value of the sequence ratio at every token and lets advantages differ between tokens; with
    one advantage per sequence and a sequence-mean reduction it is GSPO itself, in value and gradient.
    Source: GSPO, arXiv:2507.18071, equations 7 and 14; bounds from its section 5.1.

    Args:
        policy_logprobs: [B, T], with gradient.
        old_logprobs: [B, T].
        advantages: [B, T].
        mask: [B, T], the tokens of the sequence.
        epsilon_low: in [0, 1].
        epsilon_high: >= 0.

    Returns:
        [B, T].
    """
    log_ratio = (policy_logprobs - old_logprobs).detach()
    sequence_log_ratio = masked_mean(log_ratio, mask, dim=1).unsqueeze(1)
    ratio = (sequence_log_ratio + policy_logprobs - policy_logprobs.detach()).exp()
    return _clipped_loss(ratio, advantages, epsilon_low, epsilon_high)


def cispo_loss(
    policy_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    epsilon_low: float = 1.0,
    epsilon_high: float = 4.0,
) -> Tensor:
    """``-sg(clip(rho, 1 - epsilon_low, 1 + epsilon_high)) * A * logP``: no token is ever cut out of the gradient.

    Source: CISPO in MiniMax-M1, arXiv:2506.13585, equations 4 and 5, which leaves the lower side open (epsilon_low 1)
    and prints no upper bound; the cap of 5 is that of ScaleRL, arXiv:2510.13786.

    Args:
        policy_logprobs: [B, T], with gradient.
        old_logprobs: [B, T].
        advantages: [B, T].
        epsilon_low: in [0, 1].
        epsilon_high: >= 0.

    Returns:
        [B, T].
    """
    ratio = _ratio(policy_logprobs, old_logprobs).detach()
    return -ratio.clamp(1 - epsilon_low, 1 + epsilon_high) * advantages.detach() * policy_logprobs


def reinforce_loss(policy_logprobs: Tensor, advantages: Tensor) -> Tensor:
    """``-A * logP`` (Williams 1992): on-policy by assumption, without a ratio.

    Args:
        policy_logprobs: [B, T], with gradient.
        advantages: [B, T].

    Returns:
        [B, T].
    """
    return -advantages.detach() * policy_logprobs


def clip_indicator(
    policy_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
) -> Tensor:
    """1 where the PPO clip takes the gradient away: rho above its bound with A > 0, or below with A < 0.

    Args:
        policy_logprobs: [B, T].
        old_logprobs: [B, T].
        advantages: [B, T].
        epsilon_low: in [0, 1].
        epsilon_high: >= 0.

    Returns:
        [B, T] of 0 and 1 in the dtype of the log-probs.
    """
    ratio = _ratio(policy_logprobs, old_logprobs).detach()
    above = (advantages > 0) & (ratio > 1 + epsilon_high)
    below = (advantages < 0) & (ratio < 1 - epsilon_low)
    return (above | below).to(policy_logprobs.dtype)


def clip_fraction(
    policy_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
) -> Tensor:
    """Mean of ``clip_indicator`` over the mask [B, T], a scalar."""
    clipped = clip_indicator(policy_logprobs, old_logprobs, advantages, epsilon_low, epsilon_high)
    return masked_mean(clipped, mask)


def truncated_importance_weights(policy_logprobs: Tensor, rollout_logprobs: Tensor, cap: float) -> Tensor:
    """``sg(min(pi_policy / pi_rollout, cap))``: a factor on the loss for an engine that samples from other numerics.

    Source: truncated importance sampling, Ionides 2008.

    Args:
        policy_logprobs: [B, T] of the trainer.
        rollout_logprobs: [B, T] of the engine, at the same weights.
        cap: > 0.

    Returns:
        [B, T].
    """
    if not cap > 0:
        raise ValueError(f"cap is {cap}, expected a positive number; set 2.0, the usual one")
    return (policy_logprobs - rollout_logprobs).detach().clamp(max=math.log(cap)).exp()


def _ratio(policy_logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    return (policy_logprobs - old_logprobs.detach()).exp()


def _clipped_loss(ratio: Tensor, advantages: Tensor, epsilon_low: float, epsilon_high: float) -> Tensor:
    """``-min(r A, clip(r) A)`` [B, T]."""
    advantages = advantages.detach()
    clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)
