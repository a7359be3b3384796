"""Sums and means over the entries that a mask keeps.

``torch.where`` rather than a product with the mask: whatever stands at a masked entry, NaN and infinity included,
reaches neither the value nor the gradient.
"""

from __future__ import annotations

from torch import Tensor, where


def masked_sum(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of ``x`` where ``mask`` is nonzero, over ``dim`` or over everything.

    Args:
        x: [B, T], or any shape.
        mask: bool or 0/1, broadcastable to ``x``.
        dim: the dimension to sum out; ``None`` for all.

    Returns:
        A scalar, or the shape of ``x`` without ``dim``.

    >>> masked_sum(torch.tensor([[1.0, 2.0], [3.0, torch.nan]]), torch.tensor([[1, 1], [1, 0]]), dim=1)
    tensor([3., 3.])
    """
    kept = where(mask.bool(), x, x.new_zeros(()))
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(x: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of ``x`` where ``mask`` is nonzero; 0, still attached to the graph, where the mask keeps nothing.

    Args:
        x: [B, T], or any shape.
        mask: bool or 0/1, broadcastable to ``x``.
        dim: the dimension to average out; ``None`` for all.

    Returns:
        A scalar, or the shape of ``x`` without ``dim``.

    >>> masked_mean(torch.tensor([[1.0, 2.0], [3.0, torch.nan]]), torch.tensor([[1, 1], [1, 0]]), dim=1)
    tensor([1.5000, 3.0000])
    """
    kept = mask.bool().expand_as(x)
    count = kept.sum() if dim is None else kept.sum(dim)
    return masked_sum(x, kept, dim) / count.clamp(min=1)
