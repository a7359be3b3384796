"""The parts that objectives are composed of; each is a thin, swappable name for a formula in ``functional``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


class AdvantageEstimator(ABC):
    """Turns rewards [P, G] into group advantages [P, G]."""

    @abstractmethod
    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        """``valid`` [P, G] is False for samples without a score; they take no part and get 0."""


class GroupNormalized(AdvantageEstimator):
    """(R - mean) / (std + 1e-6) within the group. GRPO, 2402.03300."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.group_normalized_advantages(rewards, valid)


class GroupCentered(AdvantageEstimator):
    """R - mean within the group, not divided by the deviation. Dr. GRPO, 2503.20783."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.group_centered_advantages(rewards, valid)


class LeaveOneOut(AdvantageEstimator):
    """R minus the mean of the others in the group. RLOO, 2402.14740."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.leave_one_out_advantages(rewards, valid)


class BatchNormalized(AdvantageEstimator):
    """R minus the group mean, divided by the deviation over the whole batch. REINFORCE++, 2501.03262."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.batch_normalized_advantages(rewards, valid)


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


class Reduction(ABC):
    """How per-token losses become one number: token weights, and the count that divides their sum."""

    @abstractmethod
    def weights(self, mask: Tensor) -> Tensor:
        """[B, T] weights of the tokens."""

    @abstractmethod
    def count(self, mask: Tensor) -> Tensor:
        """What this part of the optimizer batch adds to the divisor (scalar)."""


class TokenMean(Reduction):
    """Every token of the optimizer batch weighs the same. DAPO 2503.14476; the official RLSD code."""

    def weights(self, mask: Tensor) -> Tensor:
        return F.token_mean_weights(mask)

    def count(self, mask: Tensor) -> Tensor:
        return F.token_count(mask)


class SequenceMean(Reduction):
    """Every completion weighs the same. GRPO 2402.03300; RLSD 2604.03128 Eq. 16."""

    def weights(self, mask: Tensor) -> Tensor:
        return F.sequence_mean_weights(mask)

    def count(self, mask: Tensor) -> Tensor:
        return F.sequence_count(mask)


@dataclass(frozen=True)
class SequenceSum(Reduction):
    """Token sums over a constant length, averaged over completions. Dr. GRPO 2503.20783.

    Attributes:
        max_tokens: the constant; the sampling limit.
    """

    max_tokens: int

    def weights(self, mask: Tensor) -> Tensor:
        return F.sequence_sum_weights(mask, self.max_tokens)

    def count(self, mask: Tensor) -> Tensor:
        return F.sequence_count(mask)


class Schedule(ABC):
    """A coefficient as a function of the 0-based iteration."""

    @abstractmethod
    def __call__(self, iteration: int) -> float:
        """Value in this iteration."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout."""

    value: float = 1.0

    def __call__(self, iteration: int) -> float:
        return F.constant(iteration, self.value)


@dataclass(frozen=True)
class LinearDecay(Schedule):
    """``initial`` to ``final`` in equal steps over ``iterations``. RLSD: .5 to 0 over 50.

    Attributes:
        initial, final: the two ends.
        iterations: length of the decay.
        warmup: iterations of linear rise from 0 before it.
        hold: iterations at ``initial`` between the two.
    """

    initial: float = 0.5
    final: float = 0.0
    iterations: int = 50
    warmup: int = 0
    hold: int = 0

    def __call__(self, iteration: int) -> float:
        return F.linear_decay(iteration, self.initial, self.final, self.iterations, self.warmup, self.hold)


@dataclass(frozen=True)
class Divergence(ABC):
    """A distribution term: token-wise divergence of teacher and student over the vocabulary.

    Attributes:
        weight: factor in the loss.
    """

    weight: float = 1.0

    @abstractmethod
    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """[n, V], [n, V] -> [n] nats; gradient through the student alone."""


@dataclass(frozen=True)
class GeneralizedJSD(Divergence):
    """beta KL(T||m) + (1-beta) KL(S||m), m = (1-beta) S + beta T, over the full vocabulary. GKD 2306.13649.

    Attributes:
        beta: 0 is forward KL(T||S), 1 is reverse KL(S||T), .5 the Jensen-Shannon divergence.
    """

    beta: float = 1.0

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return F.generalized_jsd(student_logits, teacher_logits, self.beta)


class Truncation(ABC):
    """What a completion without EOS is worth, and whether it is learnt from."""

    @abstractmethod
    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        """Rewards [B] and bool [B]: what to learn from. ``truncated`` is bool [B], ``lengths`` [B] in tokens."""


class ZeroReward(Truncation):
    """A truncated completion has reward 0, whatever stands in it."""

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        return rewards.masked_fill(truncated, 0.0), truncated.new_ones(truncated.shape)


class KeepReward(Truncation):
    """A truncated completion is worth what the verifier says of it."""

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        return rewards, truncated.new_ones(truncated.shape)


class MaskTruncated(Truncation):
    """A truncated completion is left out: of the group's statistics and of the loss (DAPO 2503.14476)."""

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        return rewards, ~truncated


@dataclass(frozen=True)
class SoftPenalty(Truncation):
    """The reward falls by up to 1 over the last ``buffer`` tokens before the limit (DAPO 2503.14476, Eq. 13)."""

    buffer: int

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        penalty = F.soft_overlong_penalty(lengths, max_tokens, self.buffer)
        return rewards + penalty, truncated.new_ones(truncated.shape)
