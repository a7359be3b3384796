"""Per-token estimators [B, T] of KL(policy || reference) in nats, from log-probs of tokens sampled from the policy.

Source: J. Schulman, "Approximating KL Divergence", 2020. The reference gets no gradient. As a *loss*, their gradients
differ: that of k1 has expectation 0, that of k2 is the gradient of KL(policy || reference), that of k3 the gradient of
KL(reference || policy), for on-policy tokens.
"""

from __future__ import annotations

from torch import Tensor


def kl_k1(policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """``log(pi / pi_ref)``: unbiased, of high variance, negative at times.

    Args:
        policy_logprobs: [B, T].
        reference_logprobs: [B, T].
    """
    return policy_logprobs - reference_logprobs.detach()


def kl_k2(policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """``log(pi / pi_ref)^2 / 2``: biased, never negative, of low variance.

    Args:
        policy_logprobs: [B, T].
        reference_logprobs: [B, T].
    """
    return kl_k1(policy_logprobs, reference_logprobs).square() / 2


def kl_k3(policy_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """``pi_ref / pi - 1 - log(pi_ref / pi)``: unbiased, never negative (GRPO, arXiv:2402.03300, equation 4).

    Args:
        policy_logprobs: [B, T].
        reference_logprobs: [B, T].
    """
    log_ratio = kl_k1(policy_logprobs, reference_logprobs)
    return (-log_ratio).expm1() + log_ratio
