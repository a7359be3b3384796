"""Statistics of groups, of samples per problem, and of shares."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor


def zero_variance_groups(rewards: Tensor, valid: Tensor | None = None) -> Tensor:
    """Groups that teach nothing: all valid rewards equal, or fewer than two valid samples.

    Source: the groups that dynamic sampling replaces, DAPO, arXiv:2503.14476, section 3.2.

    Args:
        rewards: [P, G].
        valid: bool [P, G], the samples that were judged; ``None`` for all.

    Returns:
        bool [P]. A group with a NaN reward is not among them: its NaN has to surface.

    >>> zero_variance_groups(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    tensor([ True, False])
    """
    valid = torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid.bool()
    highest = rewards.masked_fill(~valid, -torch.inf).amax(dim=1)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(dim=1)
    return highest <= lowest


def pass_at_k(samples: Tensor, correct: Tensor, k: int) -> Tensor:
    """``1 - C(n - c, k) / C(n, k)``: the chance that k of the n samples, drawn without replacement, hold a correct one.

    Source: Chen et al., arXiv:2107.03374, equation 1.

    Args:
        samples: n per problem, integer [N], at least k.
        correct: c per problem, integer [N], in [0, n].
        k: at least 1.

    Returns:
        float64 [N].

    Raises:
        ValueError: for a k beyond the samples, or counts beyond [0, n].

    >>> pass_at_k(torch.tensor([4, 4]), torch.tensor([1, 0]), 2)
    tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    if k < 1 or bool((samples < k).any()):
        raise ValueError(
            f"pass@{k} needs 1 <= k <= samples, got as few as {samples.min()} samples; lower k or sample more"
        )
    if bool(((correct < 0) | (correct > samples)).any()):
        raise ValueError(f"correct counts must lie in [0, samples], got {correct} of {samples}")
    wrong = samples - correct
    log_all_wrong = _log_falling_factorial(wrong, k) - _log_falling_factorial(samples, k)
    return torch.where(wrong < k, 1.0, 1 - log_all_wrong.exp())


def _log_falling_factorial(n: Tensor, k: int) -> Tensor:
    """``log(n (n - 1) ... (n - k + 1))`` float64 [N], of n [N]; its value for n < k means nothing."""
    top = n.to(torch.float64)
    return torch.lgamma(top + 1) - torch.lgamma((top - k + 1).clamp(min=1))


class ShareInterval(NamedTuple):
    """Bounds of a share, in [0, 1]."""

    low: float
    high: float


def wilson_interval(share: float, n: float, confidence: float = 0.95) -> ShareInterval:
    """Bounds ``(s + z^2/2n -+ z sqrt(s (1 - s)/n + z^2/4n^2)) / (1 + z^2/n)`` of a share s that was seen in n draws.

    Holds where the share is 0 or 1 and n is small, unlike ``s -+ z sqrt(s (1 - s)/n)``, which has no width there.
    Source: Wilson, J. Am. Stat. Assoc. 22, 1927; compared with others in Brown, Cai and DasGupta, Stat. Sci. 16, 2001.

    Args:
        share: in [0, 1].
        n: independent draws, above 0; need not be whole (an effective sample size).
        confidence: two-sided, in (0, 1).

    Raises:
        ValueError: outside these ranges.

    >>> low, high = wilson_interval(0.0, 16)
    >>> low, round(high, 4)
    (0.0, 0.1936)
    """
    if not 0 <= share <= 1 or n <= 0 or not 0 < confidence < 1:
        raise ValueError(f"share is {share}, n {n} and confidence {confidence}, expected [0, 1], above 0 and (0, 1)")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half_width = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound is exact, which rounding would miss.
    low = 0.0 if share == 0 else max(centre - half_width, 0.0)
    return ShareInterval(low, 1.0 if share == 1 else min(centre + half_width, 1.0))
