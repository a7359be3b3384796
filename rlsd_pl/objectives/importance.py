"""Corrections for completions that another distribution than the trainer's has drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


class ImportanceCorrection(ABC):
    """Detached per-token factors on the loss."""

    @abstractmethod
    def __call__(self, policy_logprobs: Tensor, rollout_logprobs: Tensor) -> Tensor:
        """[B, T] of the trainer and [B, T] of the engine that sampled -> [B, T], without gradient."""


@dataclass(frozen=True)
class TruncatedImportance(ImportanceCorrection):
    """sg(min(pi_policy / pi_rollout, cap)) (Ionides 2008); SDPO's ``is_clip`` of 2.

    Attributes:
        cap: largest factor; above 0.
    """

    cap: float = 2.0

    def __call__(self, policy_logprobs: Tensor, rollout_logprobs: Tensor) -> Tensor:
        return F.truncated_importance_weights(policy_logprobs, rollout_logprobs, self.cap)
