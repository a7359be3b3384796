"""Policy-gradient surrogates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


class Surrogate(ABC):
    """Per-token policy-gradient loss [B, T] from log-probs and token advantages."""

    @abstractmethod
    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        """Gradient flows through ``policy_logprobs`` alone. All tensors [B, T]."""

    def clipped(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor) -> Tensor | None:
        """[B, T], 1 where the clip stops the gradient; ``None`` for a surrogate without a clip."""
        return None


@dataclass(frozen=True)
class PPOClip(Surrogate):
    """-min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A). PPO 1707.06347; clip-higher from DAPO 2503.14476."""

    epsilon_low: float = 0.2
    epsilon_high: float = 0.28

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return F.ppo_clip_loss(policy_logprobs, old_logprobs, advantages, self.epsilon_low, self.epsilon_high)

    def clipped(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor) -> Tensor:
        return F.clip_indicator(policy_logprobs, old_logprobs, advantages, self.epsilon_low, self.epsilon_high)


@dataclass(frozen=True)
class DualClip(PPOClip):
    """PPO clip, and for A < 0 the loss capped at ``-dual_clip * A``. Dual-clip PPO, 1912.09729.

    Attributes:
        dual_clip: largest ratio at A < 0; above 1.
    """

    dual_clip: float = 3.0

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return F.dual_clip_ppo_loss(
            policy_logprobs, old_logprobs, advantages, self.epsilon_low, self.epsilon_high, self.dual_clip
        )


@dataclass(frozen=True)
class GSPO(Surrogate):
    """PPO clip on the sequence's ratio exp(mean_t log rho_t). 2507.18071; goes with :class:`SequenceMean`."""

    epsilon_low: float = 3e-4
    epsilon_high: float = 4e-4

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return F.gspo_loss(policy_logprobs, old_logprobs, advantages, mask, self.epsilon_low, self.epsilon_high)


@dataclass(frozen=True)
class CISPO(Surrogate):
    """-sg(clip(rho, 1 - epsilon_low, 1 + epsilon_high)) A log P: no token leaves the gradient. 2506.13585."""

    epsilon_low: float = 1.0
    epsilon_high: float = 4.0

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return F.cispo_loss(policy_logprobs, old_logprobs, advantages, self.epsilon_low, self.epsilon_high)


class Reinforce(Surrogate):
    """-A log P, without a ratio: on-policy by assumption (Williams 1992); with A = 1 it is cross-entropy."""

    def __call__(self, policy_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return F.reinforce_loss(policy_logprobs, advantages)
