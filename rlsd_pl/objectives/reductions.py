"""Reductions of per-token losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


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
