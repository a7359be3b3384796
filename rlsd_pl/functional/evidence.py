"""Evidence: what privileged information says of each sampled token, a log-ratio [B, T] in nats, detached."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def evidence_delta(teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
    """``Delta_t = sg(logP_T(y_t | x, r) - logP_S(y_t | x))``.

    Source: RLSD, arXiv:2604.03128, Algorithm 1.

    Args:
        teacher_logprobs: [B, T] of the sampled tokens under the privileged context, in nats.
        student_logprobs: [B, T] of the same tokens without it, in nats.

    Returns:
        [B, T] in nats, detached.

    >>> evidence_delta(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-3.0, -1.0]]))
    tensor([[ 2., -1.]])
    """
    return (teacher_logprobs - student_logprobs).detach()


def contrastive_evidence(positive_logprobs: Tensor, negative_logprobs: Tensor, negative_mask: Tensor) -> Tensor:
    """``logP_T(y_t | x, r+) - log mean_k P_T(y_t | x, r-_k)``: what the right context says beyond the wrong ones.

    Style that any context brings cancels. A completion without a negative context has no contrast and gets 0.
    Source: CEPO, arXiv:2605.19436, with K = 1; RLCSD, arXiv:2606.11709, equation 7, with K = 4.

    Args:
        positive_logprobs: [B, T] under the right context, in nats.
        negative_logprobs: [B, K, T] under K wrong ones, in nats.
        negative_mask: [B, K], bool or 0/1: the wrong contexts that exist.

    Returns:
        [B, T] in nats, detached.

    >>> wrong = torch.tensor([[0.25, 0.75]]).log().unsqueeze(2)
    >>> contrastive_evidence(torch.zeros(1, 1), wrong, torch.ones(1, 2)).exp()
    tensor([[2.0000]])
    """
    exists = negative_mask.bool()
    log_sum = negative_logprobs.masked_fill(~exists.unsqueeze(2), -math.inf).logsumexp(dim=1)
    count = exists.sum(dim=1, keepdim=True, dtype=log_sum.dtype)
    log_mean = log_sum - count.clamp(min=1).log()
    contrast = positive_logprobs - log_mean
    return torch.where(exists.any(dim=1, keepdim=True), contrast, 0).detach()
