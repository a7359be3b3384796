"""How credit spreads over the tokens of each completion, and whether it lands on those that decide.

Statistics [B] of magnitudes [B, T] within completions: the sign of an update plays no part, nor how large it is
compared with that of another completion. Each says what it is for equal magnitudes, as RLVR's are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gini(magnitudes: Tensor, mask: Tensor) -> Tensor:
    """``sum_i (2 i - n - 1) x_(i) / (n sum_i x_i)``, x_(1) <= ... <= x_(n): the Gini coefficient.

    0 where all are equal, (n - 1) / n where one token has everything. Source: Gini, "Variabilita e mutabilita", 1912,
    in the form of ordered values.

    Args:
        magnitudes: [B, T], 0 or more.
        mask: [B, T], bool or 0/1, the n tokens of each completion.

    Returns:
        float64 [B]; NaN where no token has any.

    >>> gini(torch.tensor([[1.0, 1.0, 1.0], [0.0, 3.0, 0.0]]), torch.ones(2, 3))
    tensor([0.0000, 0.6667], dtype=torch.float64)
    """
    kept = mask.bool()
    # Padding is sorted to the front, where its ranks are 0 and less and its values 0.
    ordered = magnitudes.double().masked_fill(~kept, -1.0).sort(dim=1).values.clamp(min=0)
    count = kept.sum(dim=1, keepdim=True)
    padding = kept.shape[1] - count
    ranks = torch.arange(1, kept.shape[1] + 1, device=kept.device) - padding
    return ((2 * ranks - count - 1) * ordered).sum(dim=1) / (count.squeeze(1) * ordered.sum(dim=1))


def top_share(magnitudes: Tensor, mask: Tensor, fraction: float = 0.1) -> Tensor:
    """Share of ``sum_t x_t`` that the ``fraction`` of tokens with the largest x_t hold; a token may count in part.

    This is ``1 - L(1 - fraction)``, L the Lorenz curve. ``fraction`` itself where all are equal, whatever the length.

    Args:
        magnitudes: [B, T], 0 or more.
        mask: [B, T], bool or 0/1.
        fraction: in (0, 1].

    Returns:
        float64 [B]; NaN where no token has any.

    Raises:
        ValueError: for another fraction.

    >>> top_share(torch.tensor([[4.0, 2.0, 1.0, 1.0]]), torch.ones(1, 4), fraction=0.375)
    tensor([0.6250], dtype=torch.float64)
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}, expected a number in (0, 1]; set 0.1 for the top tenth")
    kept = mask.bool()
    ordered = magnitudes.double().masked_fill(~kept, -1.0).sort(dim=1, descending=True).values.clamp(min=0)
    tokens = fraction * kept.sum(dim=1, keepdim=True, dtype=torch.float64)
    before = torch.arange(kept.shape[1], device=kept.device)
    counted = (tokens - before).clamp(0, 1)
    return (counted * ordered).sum(dim=1) / ordered.sum(dim=1)


def auroc(scores: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """The chance that a positive token scores higher than another one of its completion, ties counting one half.

    The area under the ROC curve, as the rank statistic of Mann and Whitney. .5 where all scores are equal.

    Args:
        scores: [B, T], finite.
        positive: bool [B, T].
        mask: [B, T], bool or 0/1; tokens outside of it are neither positive nor negative.

    Returns:
        float64 [B]; NaN where a completion has no positive token, or none that is not.

    >>> scores, positive = torch.tensor([[0.9, 0.5, 0.5, 0.1]]), torch.tensor([[True, True, False, False]])
    >>> auroc(scores, positive, torch.ones(1, 4))
    tensor([0.8750], dtype=torch.float64)
    """
    kept = mask.bool()
    found = kept & positive
    ordered = scores.masked_fill(~kept, math.inf).sort(dim=1).values
    below = torch.searchsorted(ordered, scores.contiguous())
    up_to = torch.searchsorted(ordered, scores.contiguous(), right=True)
    ranks = (below + up_to + 1).double() / 2
    positives, negatives = found.sum(dim=1), (kept & ~positive).sum(dim=1)
    wins = (ranks * found).sum(dim=1) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def precision_at_k(scores: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Share of positive tokens among the k with the highest scores, k the number of positive ones (R-precision).

    Where equal scores straddle the border, the mean over all their orders: so the share of positive tokens where all
    scores are equal.

    Args:
        scores: [B, T], finite.
        positive: bool [B, T].
        mask: [B, T], bool or 0/1.

    Returns:
        float64 [B]; NaN where a completion has no positive token.

    >>> scores, positive = torch.tensor([[0.9, 0.5, 0.5, 0.1]]), torch.tensor([[True, True, False, False]])
    >>> precision_at_k(scores, positive, torch.ones(1, 4))
    tensor([0.7500], dtype=torch.float64)
    """
    kept = mask.bool()
    found = kept & positive
    k = found.sum(dim=1, keepdim=True)
    ordered = scores.masked_fill(~kept, -math.inf).sort(dim=1, descending=True).values
    border = ordered.gather(1, (k - 1).clamp(min=0))
    above, at = kept & (scores > border), kept & (scores == border)
    share_at = (at & found).sum(dim=1) / at.sum(dim=1).double()
    left = k.squeeze(1) - above.sum(dim=1)
    return ((above & found).sum(dim=1) + left * share_at) / k.squeeze(1)


def deciding_tokens(advantages: Tensor, decisive: Tensor, false: Tensor) -> Tensor:
    """Which tokens ideal credit would change: where A > 0 the decisive ones that are true, where A < 0 the false ones.

    Args:
        advantages: [B].
        decisive: bool [B, T], the tokens that the verdict's spans of that name mark.
        false: bool [B, T], likewise.

    Returns:
        bool [B, T]; nothing where A = 0.

    >>> decisive, false = torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]])
    >>> deciding_tokens(torch.tensor([1.0]), decisive, false), deciding_tokens(torch.tensor([-1.0]), decisive, false)
    (tensor([[ True, False, False]]), tensor([[False,  True,  True]]))
    """
    column = advantages[:, None]
    return torch.where(column > 0, decisive & ~false, (column < 0) & false)
