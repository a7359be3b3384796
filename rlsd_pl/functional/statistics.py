"""Statistics of groups, of samples per problem, and of one figure over a few seeds."""

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


class MeanInterval(NamedTuple):
    """``mean`` plus or minus ``half_width``, which is NaN for fewer than two values: they tell nothing of a spread."""

    mean: float
    half_width: float


def mean_interval(sample: Tensor, confidence: float = 0.95) -> MeanInterval:
    """Mean and half-width ``t_{n-1} * s / sqrt(n)`` of its two-sided confidence interval.

    Args:
        sample: [n], n >= 1, independent values.
        confidence: in (0, 1).

    Raises:
        ValueError: for another shape.

    >>> mean_interval(torch.tensor([1.0, 2.0, 3.0]))
    MeanInterval(mean=2.0, half_width=2.4841377...)
    """
    if sample.ndim != 1 or sample.numel() == 0:
        raise ValueError(f"sample has shape {list(sample.shape)}, expected [n] with n >= 1")
    values = sample.to(torch.float64)
    n = values.numel()
    if n == 1:
        return MeanInterval(values.item(), math.nan)
    half_width = student_t_quantile(confidence, n - 1) * values.std().item() / math.sqrt(n)
    return MeanInterval(values.mean().item(), half_width)


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


def student_t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """The t with ``P(|T| <= t) = confidence``, by bisection on the angle ``atan(t / sqrt(nu))``, which is bounded.

    Args:
        confidence: two-sided, in (0, 1).
        degrees_of_freedom: nu >= 1.

    Raises:
        ValueError: outside these ranges.

    >>> round(student_t_quantile(0.95, 4), 3)
    2.776
    """
    if not 0 < confidence < 1 or degrees_of_freedom < 1:
        raise ValueError(
            f"confidence is {confidence} and degrees_of_freedom {degrees_of_freedom}, expected (0, 1) and at least 1"
        )
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if _central_probability(middle, degrees_of_freedom) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees_of_freedom) * math.tan(middle)


def _central_probability(angle: float, degrees_of_freedom: int) -> float:
    """``P(|T| <= sqrt(nu) tan(angle))``: the finite sums for whole nu (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    odd = degrees_of_freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if degrees_of_freedom == 1 else term
    for n in range(3 if odd else 2, degrees_of_freedom - 1, 2):
        term *= (n - 1) / n * math.cos(angle) ** 2
        total += term
    tail_free = math.sin(angle) * total
    return 2 / math.pi * (angle + tail_free) if odd else tail_free
