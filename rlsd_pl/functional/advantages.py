"""Group advantages: the rewards of the G completions of one prompt, made relative to each other.

Every function maps rewards [P, G] to advantages [P, G] of the same dtype and must see whole groups, before anything is
shuffled. ``valid`` marks the samples that were really judged: the others (verifier errors) take no part in any
statistic and get advantage 0. A group without a signal, its valid rewards all equal or fewer than two, gets exactly 0.
A NaN reward of a valid sample makes its group's advantages NaN, never 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd_pl.functional.masking import masked_mean

STD_OFFSET = 1e-6
"""Added to a standard deviation before dividing by it (the official RLSD and GRPO code)."""


def group_normalized_advantages(rewards: Tensor, valid: Tensor | None = None) -> Tensor:
    """GRPO: ``(R - mean_G R) / (std_G R + 1e-6)`` with the sample standard deviation (ddof 1).

    Source: DeepSeekMath, arXiv:2402.03300, section 4.1.2.

    Args:
        rewards: [P, G].
        valid: bool [P, G]; ``None`` if every sample was judged.
    """
    valid = _all_if_none(valid, rewards)
    deviations = _deviations_from_group_mean(rewards, valid)
    return deviations / (_sample_std(deviations, valid.sum(dim=1)) + STD_OFFSET)


def group_centered_advantages(rewards: Tensor, valid: Tensor | None = None) -> Tensor:
    """Dr. GRPO: ``R - mean_G R``, without the standard deviation, which favours very easy and very hard prompts.

    Source: Dr. GRPO, arXiv:2503.20783.

    Args:
        rewards: [P, G].
        valid: bool [P, G]; ``None`` if every sample was judged.
    """
    return _deviations_from_group_mean(rewards, _all_if_none(valid, rewards))


def leave_one_out_advantages(rewards: Tensor, valid: Tensor | None = None) -> Tensor:
    """RLOO: ``R_i - mean_{j != i} R_j``, written as ``n / (n - 1) * (R_i - mean_G R)`` over the n valid samples.

    Source: RLOO, arXiv:2402.14740.

    Args:
        rewards: [P, G].
        valid: bool [P, G]; ``None`` if every sample was judged.
    """
    valid = _all_if_none(valid, rewards)
    count = valid.sum(dim=1, keepdim=True).to(rewards.dtype)
    return _deviations_from_group_mean(rewards, valid) * count / (count - 1).clamp(min=1)


def batch_normalized_advantages(rewards: Tensor, valid: Tensor | None = None) -> Tensor:
    """Group mean, batch standard deviation: ``(R - mean_G R) / (std_{P*G} R + 1e-6)``, ddof 1.

    The batch is what the caller passes; over several ranks, gather the rewards first.
    Source: Lite PPO, arXiv:2508.08221.

    Args:
        rewards: [P, G].
        valid: bool [P, G]; ``None`` if every sample was judged.
    """
    valid = _all_if_none(valid, rewards)
    batch_deviations = torch.where(valid, rewards - masked_mean(rewards, valid), 0).flatten().unsqueeze(0)
    std = _sample_std(batch_deviations, valid.sum().unsqueeze(0))
    return _deviations_from_group_mean(rewards, valid) / (std + STD_OFFSET)


def signal_free_groups(rewards: Tensor, valid: Tensor | None = None) -> Tensor:
    """Groups that teach nothing: all valid rewards equal, or fewer than two valid samples.

    Args:
        rewards: [P, G].
        valid: bool [P, G]; ``None`` if every sample was judged.

    Returns:
        bool [P]. A group with a NaN reward is not free of signal: its NaN has to surface.
    """
    valid = _all_if_none(valid, rewards)
    highest = rewards.masked_fill(~valid, -torch.inf).amax(dim=1)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(dim=1)
    return highest <= lowest


def _all_if_none(valid: Tensor | None, rewards: Tensor) -> Tensor:
    return torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid.bool()


def _deviations_from_group_mean(rewards: Tensor, valid: Tensor) -> Tensor:
    """``R - mean_G R`` [P, G]; exactly 0 at invalid samples and in groups without a signal.

    Rounding of the mean would leave dust in a constant group, and dividing by its std of nearly 0 would blow that up.
    """
    deviations = rewards - masked_mean(rewards, valid, dim=1).unsqueeze(1)
    silent = signal_free_groups(rewards, valid).unsqueeze(1) | ~valid
    return deviations.masked_fill(silent, 0)


def _sample_std(deviations: Tensor, count: Tensor) -> Tensor:
    """Standard deviation (ddof 1) [P, 1] of rows of deviations [P, G], of which ``count`` [P] are not masked to 0."""
    variance = deviations.square().sum(dim=1) / (count - 1).clamp(min=1)
    return variance.sqrt().unsqueeze(1)
