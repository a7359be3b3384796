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

    Source: RLSD, arXiv:2604.03128, section 4.2.

    Args:
        teacher_logprobs: [B, T] of the sampled tokens under the privileged context.
        student_logprobs: [B, T] of the same tokens without it.
    """
    return (teacher_logprobs - student_logprobs).detach()


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
