"""Evidence: what privileged information says of each sampled token, and the weight that RLSD makes of it.

``delta`` [B, T] is a log-ratio in nats, detached: ``logP_T - logP_S``, or a contrast of two contexts of the teacher.
An infinite delta is read as the largest finite one; a NaN is passed on, so that a broken teacher is seen and not
averaged away.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlsd_pl.functional.masking import masked_mean


def evidence_delta(teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
    """``Delta_t = sg(logP_T(y_t | x, r) - logP_S(y_t | x))`` in nats, detached.

    Source: RLSD, arXiv:2604.03128, Algorithm 1.

    Args:
        teacher_logprobs: [B, T] of the sampled tokens under the privileged context.
        student_logprobs: [B, T] of the same tokens without it.
    """
    return (teacher_logprobs - student_logprobs).detach()


def contrastive_evidence(positive_logprobs: Tensor, negative_logprobs: Tensor, negative_mask: Tensor) -> Tensor:
    """``logP_T(y_t | x, r+) - log mean_k P_T(y_t | x, r-_k)``: what the right context says beyond the wrong ones.

    Style that any context brings cancels. A completion without a negative context has no contrast and gets 0.
    Source: CEPO, arXiv:2605.19436, with K = 1; RLCSD, arXiv:2606.11709, with K = 4 wrong siblings.

    Args:
        positive_logprobs: [B, T] under the right context.
        negative_logprobs: [B, K, T] under K wrong ones.
        negative_mask: [B, K], the wrong contexts that exist.

    Returns:
        [B, T] in nats, detached.
    """
    exists = negative_mask.bool()
    log_sum = negative_logprobs.masked_fill(~exists.unsqueeze(2), -math.inf).logsumexp(dim=1)
    count = exists.sum(dim=1, keepdim=True, dtype=log_sum.dtype)
    log_mean = log_sum - count.clamp(min=1).log()
    contrast = positive_logprobs - log_mean
    return torch.where(exists.any(dim=1, keepdim=True), contrast, 0).detach()


def evidence_weight(delta: Tensor, advantages: Tensor, epsilon_w: float) -> Tensor:
    """``clip(exp(sign(A) * Delta_t), 1 - epsilon_w, 1 + epsilon_w)``, two-sided.

    The exponent is clamped before it is exponentiated, which is the same number and cannot overflow.
    Source: RLSD, arXiv:2604.03128, Algorithm 1.

    Args:
        delta: [B, T].
        advantages: [B, 1].
        epsilon_w: clip half-width, >= 0; from 1 on the lower side is open.

    Returns:
        [B, T]; 1 where the advantage or the evidence is 0.
    """
    lower, upper = _log_bounds(epsilon_w)
    return _signed_evidence(delta, advantages).clamp(lower, upper).exp()


def one_sided_evidence_weight(delta: Tensor, advantages: Tensor, epsilon_w: float) -> Tensor:
    """The weight w with ``w A = min[w_t A, clip(w_t, 1 - epsilon_w, 1 + epsilon_w) A]``.

    For A > 0 only the upper bound binds, for A < 0 only the lower: then the weight is unbounded above.
    Source: RLSD, arXiv:2604.03128, equation 16 as printed.

    Args:
        delta: [B, T].
        advantages: [B, 1].
        epsilon_w: clip half-width, >= 0; from 1 on the lower side is open.

    Returns:
        [B, T]; finite, an exponent beyond the range of the dtype being cut there.
    """
    lower, upper = _log_bounds(epsilon_w)
    signed = _signed_evidence(delta, advantages)
    largest = math.log(torch.finfo(delta.dtype).max) - 1
    return torch.where(advantages > 0, signed.clamp(max=upper), signed.clamp(lower, largest)).exp()


def evidence_clip_fraction(delta: Tensor, advantages: Tensor, epsilon_w: float, mask: Tensor) -> Tensor:
    """Fraction of the tokens in ``mask`` whose weight lies strictly outside the two-sided clip; 3-6 % in the paper.

    Args:
        delta: [B, T].
        advantages: [B, 1].
        epsilon_w: clip half-width, >= 0.
        mask: [B, T].

    Returns:
        scalar.
    """
    lower, upper = _log_bounds(epsilon_w)
    signed = _signed_evidence(delta, advantages)
    clipped = (signed < lower) | (signed > upper)
    return masked_mean(clipped.to(delta.dtype), mask)


def _signed_evidence(delta: Tensor, advantages: Tensor) -> Tensor:
    """``sign(A) * Delta_t`` [B, T] with infinities made finite, because 0 * inf would be NaN where A = 0."""
    return advantages.detach().sign() * torch.nan_to_num(delta.detach(), nan=math.nan)


def _log_bounds(epsilon_w: float) -> tuple[float, float]:
    """``log(1 - epsilon_w)``, minus infinity from epsilon_w = 1 on, and ``log(1 + epsilon_w)``."""
    if not epsilon_w >= 0:
        raise ValueError(f"epsilon_w is {epsilon_w}, expected a number >= 0; set 0.2 for the paper's clip")
    return (math.log1p(-epsilon_w) if epsilon_w < 1 else -math.inf), math.log1p(epsilon_w)
