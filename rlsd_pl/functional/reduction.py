"""From per-token losses to a scalar: token weights [B, T] and a count, ``loss = sum(weights * loss) / count``.

The count comes from outside because it is one number per optimizer step, the sum of the local counts over all
micro-batches and ranks. Dividing by a local count gives short micro-batches too much say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd_pl.functional.masking import masked_sum


def token_mean_weights(mask: Tensor) -> Tensor:
    """Every token counts alike (DAPO, arXiv:2503.14476); goes with ``token_count``.

    Args:
        mask: [B, T], bool or 0/1.

    Returns:
        [B, T].
    """
    return _as_float(mask)


def token_count(mask: Tensor) -> Tensor:
    """Number of tokens in the mask [B, T], an int64 scalar."""
    return mask.bool().sum()


def sequence_mean_weights(mask: Tensor) -> Tensor:
    """Every completion counts alike, its tokens averaged (GRPO, arXiv:2402.03300, equation 3; RLSD, equation 16).

    Goes with ``sequence_count``.

    Args:
        mask: [B, T], bool or 0/1.

    Returns:
        [B, T]; rows sum to 1, or to 0 where the mask is empty.
    """
    weights = _as_float(mask)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1)


def sequence_sum_weights(mask: Tensor, max_tokens: int) -> Tensor:
    """Tokens summed and divided by a constant, so that length does not scale the gradient of a token.

    Goes with ``sequence_count``. Source: Dr. GRPO, arXiv:2503.20783.

    Args:
        mask: [B, T], bool or 0/1.
        max_tokens: the limit on completion tokens at sampling; not the longest of this batch, which varies.

    Returns:
        [B, T].
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected at least 1; set the sampling limit on completions")
    return _as_float(mask) / max_tokens


def sequence_count(mask: Tensor) -> Tensor:
    """Number of rows of the mask [B, T] with at least one token, an int64 scalar."""
    return mask.bool().any(dim=1).sum()


def reduce(loss: Tensor, weights: Tensor, count: Tensor | float) -> Tensor:
    """``sum(weights * loss) / count``; 0, still attached to the graph, if the count is 0.

    Args:
        loss: [B, T]; entries of weight 0 may hold anything, NaN included.
        weights: [B, T].
        count: scalar over the whole optimizer batch.

    Returns:
        scalar.
    """
    total = masked_sum(weights * loss, weights != 0)
    divisor = torch.as_tensor(count, dtype=loss.dtype, device=loss.device)
    return total / divisor.masked_fill(divisor == 0, 1)


def _as_float(mask: Tensor) -> Tensor:
    return mask if mask.is_floating_point() else mask.float()
