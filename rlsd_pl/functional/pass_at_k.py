"""The unbiased estimator of pass@k."""

from __future__ import annotations

import torch
from torch import Tensor


def pass_at_k(samples: Tensor, correct: Tensor, k: int) -> Tensor:
    """``1 - C(n - c, k) / C(n, k)``: the chance that k of the n samples, drawn without replacement, hold a correct one.

    Source: Chen et al., arXiv:2107.03374, equation 1.

    Args:
        samples: n per problem, integer [N], at least k.
        correct: c per problem, integer [N], in [0, n].
        k: at least 1.

    Returns:
        float64 [N].
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
    """``log(n (n - 1) ... (n - k + 1))`` float64; its value for n < k means nothing."""
    top = n.to(torch.float64)
    return torch.lgamma(top + 1) - torch.lgamma((top - k + 1).clamp(min=1))
