"""Divergences of two distributions, from normalised log-probs over the last dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kl(p: Tensor, q: Tensor) -> Tensor:
    """``KL(p || q) = sum_k p_k (log p_k - log q_k)``.

    Args:
        p: [..., K] log-probs in nats, finite.
        q: [..., K] log-probs in nats, finite.

    Returns:
        [...] in nats.

    >>> kl(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log())
    tensor([0.1438])
    """
    return (p.exp() * (p - q)).sum(dim=-1)


def jsd(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """The generalised Jensen-Shannon divergence ``beta KL(T||m) + (1 - beta) KL(S||m)``, ``m = (1 - beta) S + beta T``.

    beta = 0 is the forward KL(T||S), beta = 1 the reverse KL(S||T): the limits of the sum divided by its small weight,
    as everywhere in the literature, since the sum itself goes to 0 at both ends. beta = .5 is the Jensen-Shannon
    divergence. Source: GKD, arXiv:2306.13649, equation 1.

    Args:
        student: [..., K] log-probs in nats, finite.
        teacher: [..., K] log-probs in nats, finite.
        beta: in [0, 1].

    Returns:
        [...] in nats.

    Raises:
        ValueError: if beta lies outside [0, 1].

    >>> student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> jsd(student, teacher, 1.0), jsd(student, teacher, 0.5)
    (tensor([0.1438]), tensor([0.0338]))
    """
    check_beta(beta)
    if beta == 0:
        return kl(teacher, student)
    if beta == 1:
        return kl(student, teacher)
    mixture = torch.logaddexp(student + math.log1p(-beta), teacher + math.log(beta))
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


def check_beta(beta: float) -> None:
    """Refuse a beta outside [0, 1].

    Raises:
        ValueError: says what to set.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}, expected a number in [0, 1]; set 0 for forward KL, 1 for reverse KL")
