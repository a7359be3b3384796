"""Group advantage estimators."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from rlsd_pl import functional as F


class AdvantageEstimator(ABC):
    """Turns rewards [P, G] into group advantages [P, G]."""

    @abstractmethod
    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        """``valid`` [P, G] is False for samples without a score; they take no part and get 0."""


class GroupNormalized(AdvantageEstimator):
    """(R - mean) / (std + 1e-6) within the group. GRPO, 2402.03300."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.group_normalized_advantages(rewards, valid)


class GroupCentered(AdvantageEstimator):
    """R - mean within the group, not divided by the deviation. Dr. GRPO, 2503.20783."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.group_centered_advantages(rewards, valid)


class LeaveOneOut(AdvantageEstimator):
    """R minus the mean of the others in the group. RLOO, 2402.14740."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.leave_one_out_advantages(rewards, valid)


class BatchNormalized(AdvantageEstimator):
    """R minus the group mean, divided by the deviation over the whole batch. REINFORCE++, 2501.03262."""

    def __call__(self, rewards: Tensor, valid: Tensor) -> Tensor:
        return F.batch_normalized_advantages(rewards, valid)
