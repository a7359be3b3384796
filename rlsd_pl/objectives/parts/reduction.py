"""From per-token losses to a scalar: ``loss = sum(weights * loss) / count``.

The count is one number per optimizer step, the sum of the local counts over all micro-batches and processes. Dividing
by a local count would give short micro-batches too much say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.functional import masked_sum


class Reduction(ABC):
    """How per-token losses become one number: token weights, and the count that divides their sum."""

    @abstractmethod
    def weights(self, mask: Tensor) -> Tensor:
        """Weights of the tokens, [B, T], of a floating mask's dtype.

        Args:
            mask: [B, T], bool or 0/1.
        """

    @abstractmethod
    def count(self, mask: Tensor) -> Tensor:
        """What this part of the optimizer batch adds to the divisor, an int64 scalar.

        Args:
            mask: [B, T], bool or 0/1.
        """

    def __call__(self, loss: Tensor, mask: Tensor, count: Tensor | float | None = None) -> Tensor:
        """``sum(weights * loss) / count``; 0, still attached to the graph, if the count is 0.

        Args:
            loss: [B, T]; outside the mask it may hold anything, NaN included.
            mask: [B, T], bool or 0/1.
            count: over the whole optimizer batch; ``None`` if this is the whole.

        Returns:
            scalar.
        """
        weights = self.weights(mask.to(loss.dtype))
        divisor = torch.as_tensor(self.count(mask) if count is None else count, dtype=loss.dtype, device=loss.device)
        return masked_sum(weights * loss, weights != 0) / divisor.masked_fill(divisor == 0, 1)


@dataclass(frozen=True)
class TokenMean(Reduction):
    """Every token of the optimizer batch counts alike.

    Source: DAPO, arXiv:2503.14476, equation 12; the official RLSD code.

    >>> TokenMean()(torch.tensor([[1.0, 2.0], [6.0, torch.nan]]), torch.tensor([[1, 1], [1, 0]]))
    tensor(3.)
    """

    def weights(self, mask: Tensor) -> Tensor:
        return _as_float(mask)

    def count(self, mask: Tensor) -> Tensor:
        """Number of tokens in the mask [B, T]."""
        return mask.bool().sum()


@dataclass(frozen=True)
class SequenceMean(Reduction):
    """Every completion counts alike, its tokens averaged.

    Source: GRPO, arXiv:2402.03300, equation 3; RLSD, arXiv:2604.03128, equation 16.

    >>> SequenceMean()(torch.tensor([[1.0, 2.0], [6.0, torch.nan]]), torch.tensor([[1, 1], [1, 0]]))
    tensor(3.7500)
    """

    def weights(self, mask: Tensor) -> Tensor:
        """[B, T]; rows sum to 1, or to 0 where the mask [B, T] is empty."""
        weights = _as_float(mask)
        return weights / weights.sum(dim=1, keepdim=True).clamp(min=1)

    def count(self, mask: Tensor) -> Tensor:
        """Number of rows of the mask [B, T] with at least one token."""
        return mask.bool().any(dim=1).sum()


@dataclass(frozen=True)
class SequenceSum(Reduction):
    """Tokens summed and divided by a constant, so that length does not scale the gradient of a token.

    Source: Dr. GRPO, arXiv:2503.20783.

    Attributes:
        max_tokens: the limit on completion tokens at sampling; not the longest of this batch, which varies. At least 1.

    Raises:
        ValueError: below 1.

    >>> SequenceSum(max_tokens=10)(torch.tensor([[1.0, 2.0], [6.0, torch.nan]]), torch.tensor([[1, 1], [1, 0]]))
    tensor(0.4500)
    """

    max_tokens: int

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(
                f"max_tokens is {self.max_tokens}, expected at least 1; set the sampling limit on completions"
            )

    def weights(self, mask: Tensor) -> Tensor:
        return _as_float(mask) / self.max_tokens

    def count(self, mask: Tensor) -> Tensor:
        """Number of rows of the mask [B, T] with at least one token."""
        return mask.bool().any(dim=1).sum()


def _as_float(mask: Tensor) -> Tensor:
    return mask if mask.is_floating_point() else mask.float()
