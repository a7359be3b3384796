"""Policy-gradient surrogates: per-token losses whose gradient is that of the update, not yet reduced.

The ratio is ``rho = exp(logP - logP_old)``. With one update per rollout the old log-probs are the detached current
ones: the ratio is 1 and clipping is idle. Losses at padding mean nothing; the reduction drops them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.functional import masked_mean


class Surrogate(ABC):
    """Per-token policy-gradient loss [B, T] from log-probs and token advantages."""

    @abstractmethod
    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        """The loss; gradient flows through ``policy_logprobs`` alone.

        Args:
            policy_logprobs: [B, T] in nats.
            old_logprobs: [B, T] in nats, of the policy that sampled.
            advantages: [B, T].
            mask: bool [B, T], the tokens of each completion.

        Returns:
            [B, T].
        """

    def clipped(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor | None:
        """bool [B, T], the tokens whose gradient the clip removes; ``None`` for a surrogate that removes none.

        Args:
            policy_logprobs: [B, T] in nats.
            old_logprobs: [B, T] in nats.
            advantages: [B, T].
            mask: bool [B, T].
        """
        return None


@dataclass(frozen=True)
class PPOClip(Surrogate):
    """``-min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A)``.

    Source: PPO, arXiv:1707.06347, equation 7; the higher upper bound from DAPO, arXiv:2503.14476.

    Attributes:
        epsilon_low: in [0, 1].
        epsilon_high: 0 or more.

    Raises:
        ValueError: outside these ranges.

    >>> policy, old, mask = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.5, 0.25]]).log(), torch.ones(1, 2)
    >>> PPOClip()(policy, old, torch.ones(1, 2), mask)
    tensor([[-1.0000, -1.2800]])
    >>> PPOClip().clipped(policy, old, torch.ones(1, 2), mask)
    tensor([[False,  True]])
    """

    epsilon_low: float = 0.2
    epsilon_high: float = 0.28

    def __post_init__(self) -> None:
        _check_clip(self.epsilon_low, self.epsilon_high)

    def ratio(self, policy_logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
        """``rho`` [B, T] from log-probs [B, T] and the mask [B, T]."""
        return (policy_logprobs - old_logprobs.detach()).exp()

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        ratio, advantages = self.ratio(policy_logprobs, old_logprobs, mask), advantages.detach()
        clipped = ratio.clamp(1 - self.epsilon_low, 1 + self.epsilon_high)
        return -torch.minimum(ratio * advantages, clipped * advantages)

    def clipped(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        ratio = self.ratio(policy_logprobs, old_logprobs, mask).detach()
        above = (advantages > 0) & (ratio > 1 + self.epsilon_high)
        below = (advantages < 0) & (ratio < 1 - self.epsilon_low)
        return above | below


@dataclass(frozen=True)
class DualClip(PPOClip):
    """PPO clip, and for A < 0 the loss capped at ``-dual_clip * A``, where PPO leaves a large ratio unbounded.

    Source: dual-clip PPO, arXiv:1912.09729, equation 5.

    Attributes:
        epsilon_low: in [0, 1].
        epsilon_high: 0 or more.
        dual_clip: largest ratio at A < 0; above 1.

    Raises:
        ValueError: outside these ranges.

    >>> policy, old, mask = torch.tensor([[0.5]]).log(), torch.tensor([[0.1]]).log(), torch.ones(1, 1)
    >>> PPOClip()(policy, old, -torch.ones(1, 1), mask), DualClip()(policy, old, -torch.ones(1, 1), mask)
    (tensor([[5.]]), tensor([[3.]]))
    """

    dual_clip: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dual_clip > 1:
            raise ValueError(f"dual_clip is {self.dual_clip}, expected more than 1; set 3.0, or use the plain PPO clip")

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        loss, advantages = super().__call__(policy_logprobs, old_logprobs, advantages, mask), advantages.detach()
        return torch.where(advantages < 0, torch.minimum(loss, -self.dual_clip * advantages), loss)

    def clipped(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        ratio = self.ratio(policy_logprobs, old_logprobs, mask).detach()
        capped = (advantages < 0) & (ratio > self.dual_clip)
        return super().clipped(policy_logprobs, old_logprobs, advantages, mask) | capped


@dataclass(frozen=True)
class GSPO(PPOClip):
    """PPO clip on the sequence ratio ``s = exp(mean_t log rho_t)``, in the token form ``sg(s) * pi_t / sg(pi_t)``.

    The token form has the value of the sequence ratio at every token and lets advantages differ between tokens; with
    one advantage per completion and :class:`SequenceMean` it is GSPO itself, in value and gradient.
    Source: GSPO, arXiv:2507.18071, equations 7 and 14; bounds from its section 5.1.

    Attributes:
        epsilon_low: in [0, 1].
        epsilon_high: 0 or more.

    Raises:
        ValueError: outside these ranges.

    >>> policy, old, mask = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.5, 0.125]]).log(), torch.ones(1, 2)
    >>> GSPO(0.2, 9.0)(policy, old, torch.ones(1, 2), mask)
    tensor([[-2., -2.]])
    """

    epsilon_low: float = 3e-4
    epsilon_high: float = 4e-4

    def ratio(self, policy_logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
        """``s`` at every token, [B, T], from log-probs [B, T] and the mask [B, T]."""
        log_ratio = (policy_logprobs - old_logprobs).detach()
        sequence_log_ratio = masked_mean(log_ratio, mask, dim=1).unsqueeze(1)
        return (sequence_log_ratio + policy_logprobs - policy_logprobs.detach()).exp()


@dataclass(frozen=True)
class CISPO(Surrogate):
    """``-sg(clip(rho, 1 - epsilon_low, 1 + epsilon_high)) * A * logP``: no token is ever cut out of the gradient.

    Source: CISPO in MiniMax-M1, arXiv:2506.13585, equations 4 and 5, which leaves the lower side open (epsilon_low 1)
    and prints no upper bound; the cap of 5 is that of ScaleRL, arXiv:2510.13786.

    Attributes:
        epsilon_low: in [0, 1].
        epsilon_high: 0 or more.

    Raises:
        ValueError: outside these ranges.

    >>> policy, old = torch.tensor([[-1.0]], requires_grad=True), torch.tensor([[-9.0]])
    >>> CISPO()(policy, old, torch.ones(1, 1), torch.ones(1, 1)).backward()
    >>> policy.grad
    tensor([[-5.]])
    """

    epsilon_low: float = 1.0
    epsilon_high: float = 4.0

    def __post_init__(self) -> None:
        _check_clip(self.epsilon_low, self.epsilon_high)

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        ratio = (policy_logprobs - old_logprobs).detach().exp()
        return -ratio.clamp(1 - self.epsilon_low, 1 + self.epsilon_high) * advantages.detach() * policy_logprobs


@dataclass(frozen=True)
class Reinforce(Surrogate):
    """``-A * logP``, on-policy by assumption, without a ratio; with A = 1 it is cross-entropy.

    Source: Williams, "Simple statistical gradient-following algorithms", 1992.

    >>> Reinforce()(torch.tensor([[-0.5]]), torch.tensor([[-0.5]]), torch.tensor([[2.0]]), torch.ones(1, 1))
    tensor([[1.]])
    """

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return -advantages.detach() * policy_logprobs


def _check_clip(epsilon_low: float, epsilon_high: float) -> None:
    if not (0 <= epsilon_low <= 1 and epsilon_high >= 0):
        raise ValueError(
            f"epsilon_low is {epsilon_low} and epsilon_high {epsilon_high}, expected a number in [0, 1] and one >= 0; "
            "set 0.2 and 0.28 for the clip of DAPO"
        )
