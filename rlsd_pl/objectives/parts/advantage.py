"""Group advantages: the rewards of the G completions of one prompt, made relative to each other.

An estimator must see whole groups, before anything is shuffled. Samples that were not judged (verifier errors) take no
part in any statistic and get 0, and so does every sample of a zero-variance group. A NaN reward of a judged sample
makes its group's advantages NaN, never 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.functional import masked_mean, zero_variance_groups

STD_OFFSET = 1e-6
"""Added to a standard deviation before dividing by it (the official RLSD and GRPO code)."""


class AdvantageEstimator(ABC):
    """Turns rewards [P, G] into group advantages [P, G] of the same dtype."""

    @abstractmethod
    def __call__(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Group advantages.

        Args:
            rewards: [P, G].
            valid: bool [P, G], the samples that were judged; ``None`` for all.

        Returns:
            [P, G].
        """


@dataclass(frozen=True)
class GroupNormalized(AdvantageEstimator):
    """GRPO: ``(R - mean_G R) / (std_G R + 1e-6)`` with the sample standard deviation (ddof 1).

    Source: DeepSeekMath, arXiv:2402.03300, section 4.1.2.

    >>> GroupNormalized()(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
    tensor([[ 0.8660, -0.8660, -0.8660,  0.8660],
            [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """

    def __call__(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        valid = _all_if_none(valid, rewards)
        deviations = _deviations_from_group_mean(rewards, valid)
        return deviations / (_sample_std(deviations, valid.sum(dim=1)) + STD_OFFSET)


@dataclass(frozen=True)
class GroupCentered(AdvantageEstimator):
    """Dr. GRPO: ``R - mean_G R``, without the standard deviation, which favours very easy and very hard prompts.

    Source: Dr. GRPO, arXiv:2503.20783.

    >>> GroupCentered()(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
    tensor([[ 0.5000, -0.5000, -0.5000,  0.5000]])
    """

    def __call__(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        return _deviations_from_group_mean(rewards, _all_if_none(valid, rewards))


@dataclass(frozen=True)
class LeaveOneOut(AdvantageEstimator):
    """RLOO: ``R_i - mean_{j != i} R_j``, written as ``n / (n - 1) * (R_i - mean_G R)`` over the n judged samples.

    Source: RLOO, arXiv:2402.14740.

    >>> LeaveOneOut()(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """

    def __call__(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        valid = _all_if_none(valid, rewards)
        count = valid.sum(dim=1, keepdim=True).to(rewards.dtype)
        return _deviations_from_group_mean(rewards, valid) * count / (count - 1).clamp(min=1)


@dataclass(frozen=True)
class BatchNormalized(AdvantageEstimator):
    """Group mean, batch standard deviation: ``(R - mean_G R) / (std_{P*G} R + 1e-6)``, ddof 1.

    The batch is what the caller passes. Source: Lite PPO, arXiv:2508.08221; with one more mean, REINFORCE++,
    arXiv:2501.03262.

    >>> BatchNormalized()(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([[ 1.0000, -1.0000],
            [ 0.0000,  0.0000]])
    """

    def __call__(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        valid = _all_if_none(valid, rewards)
        batch_deviations = torch.where(valid, rewards - masked_mean(rewards, valid), 0).flatten().unsqueeze(0)
        std = _sample_std(batch_deviations, valid.sum().unsqueeze(0))
        return _deviations_from_group_mean(rewards, valid) / (std + STD_OFFSET)


def _all_if_none(valid: Tensor | None, rewards: Tensor) -> Tensor:
    return torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid.bool()


def _deviations_from_group_mean(rewards: Tensor, valid: Tensor) -> Tensor:
    """``R - mean_G R`` [P, G]; exactly 0 at samples that were not judged and in zero-variance groups.

    Rounding of the mean would leave dust in a constant group, and dividing by its std of nearly 0 would blow that up.
    """
    deviations = rewards - masked_mean(rewards, valid, dim=1).unsqueeze(1)
    constant = zero_variance_groups(rewards, valid).unsqueeze(1) | ~valid
    return deviations.masked_fill(constant, 0)


def _sample_std(deviations: Tensor, count: Tensor) -> Tensor:
    """Standard deviation (ddof 1) [P, 1] of rows of deviations [P, G], of which ``count`` [P] are not masked to 0."""
    variance = deviations.square().sum(dim=1) / (count - 1).clamp(min=1)
    return variance.sqrt().unsqueeze(1)
