"""Token advantages: how the one advantage of a completion becomes one per token, detached; and SDAR's loss term.

``delta`` [B, T] is the evidence per sampled token in nats, from ``rlsd_pl.functional.evidence``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd_pl.functional.evidence import evidence_delta, evidence_weight, one_sided_evidence_weight


def rlsd_credit(advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
    """``A * [(1 - lambda) + lambda * w_t]`` with the two-sided weight ``w_t``; lambda = 0 is RLVR bit for bit.

    Source: RLSD, arXiv:2604.03128, Algorithm 1.

    Args:
        advantages: [B].
        delta: [B, T].
        strength: lambda in [0, 1].
        epsilon_w: clip half-width of the weight, >= 0.

    Returns:
        [B, T], of the sign of A.
    """
    column = advantages.detach().unsqueeze(1)
    return column * _blend(evidence_weight(delta, column, epsilon_w), strength)


def rlsd_one_sided_credit(advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
    """``(1 - lambda) * A + lambda * min[w_t A, clip(w_t) A]``: RLSD with the clip of equation 16 as printed.

    Source: RLSD, arXiv:2604.03128, equation 16.

    Args:
        advantages: [B].
        delta: [B, T].
        strength: lambda in [0, 1].
        epsilon_w: clip half-width of the weight, >= 0.

    Returns:
        [B, T], of the sign of A.
    """
    column = advantages.detach().unsqueeze(1)
    return column * _blend(one_sided_evidence_weight(delta, column, epsilon_w), strength)


def rlsd_negative_only_credit(advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
    """RLSD credit on completions with A < 0; the others keep A, which guards against shrinking responses.

    Source: the ``negative_only`` option of the official RLSD code.

    Args:
        advantages: [B].
        delta: [B, T].
        strength: lambda in [0, 1].
        epsilon_w: clip half-width of the weight, >= 0.

    Returns:
        [B, T].
    """
    column = advantages.detach().unsqueeze(1)
    return torch.where(column < 0, rlsd_credit(advantages, delta, strength, epsilon_w), column)


def distillation_credit(teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
    """``A_t = logP_T - logP_S``: on-policy distillation on the sampled token; the reward plays no part.

    Its expected gradient is that of -KL(S||T). Source: OPSD, arXiv:2601.18734; OPD with an external teacher.

    Args:
        teacher_logprobs: [B, T].
        student_logprobs: [B, T].
    """
    return evidence_delta(teacher_logprobs, student_logprobs)


def rlrt_credit(advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
    """RLSD with the ratio reversed, ``w_t = exp(-sign(A) * Delta_t)``, on correct completions (A > 0) only.

    Source: RLRT, arXiv:2605.10781.

    Args:
        advantages: [B].
        delta: [B, T].
        strength: lambda in [0, 1].
        epsilon_w: clip half-width of the weight, >= 0.

    Returns:
        [B, T]; A where A <= 0.
    """
    column = advantages.detach().unsqueeze(1)
    return torch.where(column > 0, rlrt_all_credit(advantages, delta, strength, epsilon_w), column)


def rlrt_all_credit(advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
    """RLRT-All: the reversed ratio on every completion, correct or not.

    Source: RLRT, arXiv:2605.10781, the variant of its ablation.

    Args:
        advantages: [B].
        delta: [B, T].
        strength: lambda in [0, 1].
        epsilon_w: clip half-width of the weight, >= 0.

    Returns:
        [B, T], of the sign of A.
    """
    return rlsd_credit(advantages, -delta, strength, epsilon_w)


def sdar_gate(delta: Tensor, sharpness: float = 5.0) -> Tensor:
    """``sg(sigmoid(sharpness * Delta_t))``: how far the teacher's opinion of a token is let through, in (0, 1).

    Source: SDAR, arXiv:2605.15155.

    Args:
        delta: [B, T].
        sharpness: per nat.
    """
    return torch.sigmoid(sharpness * delta.detach())


def sdar_term(
    teacher_logprobs: Tensor, student_logprobs: Tensor, coefficient: float = 0.01, sharpness: float = 5.0
) -> Tensor:
    """``c * sg(sigmoid(5 Delta_t)) * (sg(logP_T) - logP_S)``: gated distillation of the sampled token, a loss term.

    Its gradient is that of an advantage of ``c * gate``: it raises every sampled token, those that the teacher likes
    less than the student by less. Source: SDAR, arXiv:2605.15155.

    Args:
        teacher_logprobs: [B, T] of the sampled tokens; gets no gradient.
        student_logprobs: [B, T] of the same tokens.
        coefficient: c.
        sharpness: of the gate, per nat.

    Returns:
        [B, T].
    """
    delta = teacher_logprobs.detach() - student_logprobs
    return coefficient * sdar_gate(delta, sharpness) * delta


def rlcsd_bonus(delta: Tensor, strength: float, temperature: float = 0.02) -> Tensor:
    """``rho_t = beta * lambda * tanh(e_t / tau)``: the contrast, squashed to (-strength, strength).

    Source: RLCSD, arXiv:2606.11709.

    Args:
        delta: [B, T], e_t from ``contrastive_evidence``.
        strength: the product of the paper's beta and lambda (.5), >= 0.
        temperature: tau, in nats.
    """
    return strength * torch.tanh(delta.detach() / temperature)


def rlcsd_selection(bonus: Tensor, threshold: float = 0.02) -> Tensor:
    """``|rho_t| > delta``: the tokens whose advantage is moved, bool [B, T].

    The paper normalises the surrogate over them and over all others apart. Source: RLCSD, arXiv:2606.11709.

    Args:
        bonus: [B, T], from ``rlcsd_bonus``.
        threshold: delta of the paper.
    """
    return bonus.abs() > threshold


def rlcsd_credit(advantages: Tensor, bonus: Tensor, threshold: float = 0.02) -> Tensor:
    """``A + rho_t`` on the selected tokens, cut at 0 so that the sign of A is kept; A on the others.

    Source: RLCSD, arXiv:2606.11709.

    Args:
        advantages: [B].
        bonus: [B, T], from ``rlcsd_bonus``.
        threshold: delta of the paper, below which a token keeps A.

    Returns:
        [B, T]; 0 where A is 0.
    """
    column = advantages.detach().unsqueeze(1)
    sign = column.sign()
    moved = sign * (column.abs() + sign * bonus).clamp(min=0)
    # Written as a negation, so that a NaN bonus reaches the result instead of being dropped by the comparison.
    return torch.where(bonus.abs() <= threshold, column, moved)


def _blend(weight: Tensor, strength: float) -> Tensor:
    """``(1 - lambda) + lambda * w``; ``lerp`` is exact at lambda = 0, at lambda = 1 and at w = 1, the sum is not."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength (lambda) is {strength}, expected a number in [0, 1]; set 0 for plain RLVR")
    return torch.lerp(torch.ones_like(weight), weight, strength)
