"""Corrections for completions that another distribution than the trainer's has drawn."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


class ImportanceCorrection(ABC):
    """Detached per-token factors on the loss."""

    @abstractmethod
    def __call__(self, policy_logprobs: Tensor, rollout_logprobs: Tensor) -> Tensor:
        """The factors.

        Args:
            policy_logprobs: [B, T] of the trainer, in nats.
            rollout_logprobs: [B, T] of the engine that sampled, in nats.

        Returns:
            [B, T], without gradient.
        """


@dataclass(frozen=True)
class TruncatedImportance(ImportanceCorrection):
    """``sg(min(pi_policy / pi_rollout, cap))``.

    Source: Ionides, "Truncated importance sampling", 2008; with a cap of 2 the ``is_clip`` of the official SDPO code.

    Attributes:
        cap: largest factor; above 0.

    Raises:
        ValueError: for a cap of 0 or less.

    >>> TruncatedImportance(cap=2.0)(torch.tensor([[0.3, 0.9]]).log(), torch.tensor([[0.2, 0.1]]).log())
    tensor([[1.5000, 2.0000]])
    """

    cap: float = 2.0

    def __post_init__(self) -> None:
        if not self.cap > 0:
            raise ValueError(f"cap is {self.cap}, expected a positive number; set 2.0, the usual one")

    def __call__(self, policy_logprobs: Tensor, rollout_logprobs: Tensor) -> Tensor:
        return (policy_logprobs - rollout_logprobs).detach().clamp(max=math.log(self.cap)).exp()
