"""Policies for completions that the token limit ended, without EOS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


class Truncation(ABC):
    """What a completion without EOS is worth, and whether it is learnt from."""

    def check(self, max_tokens: int) -> None:
        """Raise ``ValueError`` if the policy cannot be applied under this sampling limit. Asked before training."""
        return

    @abstractmethod
    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        """Rewards [B], and bool [B]: which completions to learn from.

        Args:
            rewards: [B], of the verifier.
            truncated: bool [B].
            lengths: int64 [B], tokens per completion.
            max_tokens: the sampling limit.
        """


@dataclass(frozen=True)
class ZeroReward(Truncation):
    """A truncated completion has reward 0, whatever stands in it.

    >>> ZeroReward()(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), torch.tensor([8, 5]), 8)
    (tensor([0., 1.]), tensor([True, True]))
    """

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        return rewards.masked_fill(truncated, 0.0), truncated.new_ones(truncated.shape)


@dataclass(frozen=True)
class KeepReward(Truncation):
    """A truncated completion is worth what the verifier says of it.

    >>> KeepReward()(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), torch.tensor([8, 5]), 8)
    (tensor([1., 1.]), tensor([True, True]))
    """

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        return rewards, truncated.new_ones(truncated.shape)


@dataclass(frozen=True)
class MaskTruncated(Truncation):
    """A truncated completion is left out, of the group's statistics and of the loss.

    Source: overlong filtering, DAPO, arXiv:2503.14476, section 3.4.

    >>> MaskTruncated()(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), torch.tensor([8, 5]), 8)
    (tensor([1., 1.]), tensor([False,  True]))
    """

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        return rewards, ~truncated


@dataclass(frozen=True)
class SoftPenalty(Truncation):
    """The reward falls linearly by up to 1 over the last ``buffer`` tokens before the limit.

    Source: DAPO, arXiv:2503.14476, equation 13.

    Attributes:
        buffer: tokens before the limit over which the penalty grows; in [1, max_tokens].

    Raises:
        ValueError: outside this range.

    >>> SoftPenalty(buffer=4)(torch.ones(3), torch.tensor([False, False, True]), torch.tensor([3, 8, 10]), 10)
    (tensor([1.0000, 0.5000, 0.0000]), tensor([True, True, True]))
    """

    buffer: int

    def check(self, max_tokens: int) -> None:
        if not 1 <= self.buffer <= max_tokens:
            raise ValueError(
                f"Got objective.truncation.buffer={self.buffer}; expected 1 to {max_tokens}, the limit that "
                "data.max_completion_tokens sets (DAPO: a fifth of it)."
            )

    def __call__(self, rewards: Tensor, truncated: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
        self.check(max_tokens)
        penalty = ((max_tokens - self.buffer - lengths) / self.buffer).clamp(-1.0, 0.0)
        return rewards + penalty, truncated.new_ones(truncated.shape)
