"""Signs that a policy learns the style of privileged information instead of the task."""

from __future__ import annotations

from torch import Tensor

from rlsd_pl.functional.masking import masked_mean


def length_drift(lengths: Tensor, baseline: float) -> Tensor:
    """Relative change of the mean response length, ``mean / baseline - 1``; -.5 where responses have halved.

    Args:
        lengths: [N] tokens per completion.
        baseline: mean length before training, > 0.

    Returns:
        scalar.
    """
    if not baseline > 0:
        raise ValueError(
            f"baseline is {baseline}, expected a positive mean length in tokens; measure it before training"
        )
    return lengths.float().mean() / baseline - 1


def sampled_teacher_kl(delta: Tensor, mask: Tensor) -> Tensor:
    """Estimate of KL(S||T) in nats per token from the sampled tokens, ``-mean_t Delta_t`` (the k1 estimator).

    Source: the teacher-student KL that RLSD, arXiv:2604.03128, plots to show that distillation stalls.

    Args:
        delta: [B, T], ``evidence_delta`` of tokens that the student sampled.
        mask: [B, T].

    Returns:
        [B]; single values may be negative, the expectation is not.
    """
    return masked_mean(-delta, mask, dim=1)
