"""Penalties on the distance from the initial policy: per-token estimators of KL(policy || reference), in nats.

From log-probs of tokens that the policy sampled. As a *loss*, their gradients differ: that of k1 has expectation 0,
that of k2 is the gradient of KL(policy || reference), that of k3 the gradient of KL(reference || policy).
Source: J. Schulman, "Approximating KL Divergence", 2020.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


class ReferenceKL(ABC):
    """A per-token estimate of KL(policy || initial policy) that is added to the loss; costs one forward per rollout.

    Attributes:
        coefficient: factor in the loss.
    """

    coefficient: float

    @abstractmethod
    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        """The estimate, without the coefficient; gradient flows through the policy alone.

        Args:
            policy_logprobs: [B, T] in nats.
            reference_logprobs: [B, T] in nats.

        Returns:
            [B, T] in nats.
        """


@dataclass(frozen=True)
class K1(ReferenceKL):
    """``log(pi / pi_ref)``: unbiased, of high variance; its gradient vanishes in expectation. For comparison only.

    Attributes:
        coefficient: factor in the loss.

    >>> K1()(torch.tensor([[-1.0]]), torch.tensor([[-3.0]]))
    tensor([[2.]])
    """

    coefficient: float = 1e-3

    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        return policy_logprobs - reference_logprobs.detach()


@dataclass(frozen=True)
class K2(ReferenceKL):
    """``log(pi / pi_ref)^2 / 2``: biased, never negative; its gradient is that of KL(pi || pi_ref) on-policy.

    Attributes:
        coefficient: factor in the loss.

    >>> K2()(torch.tensor([[-1.0]]), torch.tensor([[-4.0]]))
    tensor([[4.5000]])
    """

    coefficient: float = 1e-3

    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        return (policy_logprobs - reference_logprobs.detach()).square() / 2


@dataclass(frozen=True)
class K3(ReferenceKL):
    """``pi_ref / pi - 1 - log(pi_ref / pi)``: unbiased, never negative. Source: GRPO, arXiv:2402.03300, equation 4.

    Attributes:
        coefficient: factor in the loss.

    >>> K3()(torch.tensor([[-1.0]]), torch.tensor([[-3.0]]))
    tensor([[1.1353]])
    """

    coefficient: float = 1e-3

    def __call__(self, policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        log_ratio = policy_logprobs - reference_logprobs.detach()
        return (-log_ratio).expm1() + log_ratio
