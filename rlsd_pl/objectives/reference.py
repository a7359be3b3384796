"""Penalties that hold the policy near the initial one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


class ReferenceKL(ABC):
    """A per-token estimate of KL(policy || initial policy) that is added to the loss; costs one forward per rollout.

    The estimators' gradients differ, see ``rlsd_pl.functional.kl``.

    Attributes:
        coefficient: factor in the loss.
    """

    coefficient: float

    @abstractmethod
    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        """[B, T], [B, T] -> [B, T] nats; gradient through the policy alone."""


@dataclass(frozen=True)
class K1(ReferenceKL):
    """log(pi / pi_ref): unbiased as a number, but its gradient vanishes in expectation. For comparison only."""

    coefficient: float = 1e-3

    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        return F.kl_k1(policy_logprobs, reference_logprobs)


@dataclass(frozen=True)
class K2(ReferenceKL):
    """log(pi / pi_ref)^2 / 2: its gradient is that of KL(pi || pi_ref) on-policy."""

    coefficient: float = 1e-3

    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        return F.kl_k2(policy_logprobs, reference_logprobs)


@dataclass(frozen=True)
class K3(ReferenceKL):
    """pi_ref / pi - 1 - log(pi_ref / pi): unbiased and never negative. GRPO, 2402.03300, equation 4."""

    coefficient: float = 1e-3

    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        return F.kl_k3(policy_logprobs, reference_logprobs)
