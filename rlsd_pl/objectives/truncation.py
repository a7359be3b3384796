"""Policies for completions without EOS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


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
