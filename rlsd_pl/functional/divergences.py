"""Divergences between the student's and the teacher's predictive distributions, over the last dimension.

Three different losses, named apart: over the whole vocabulary, over k tokens and one tail bucket for all others, and
over k tokens renormalised. Logits are finite, [N, V], already divided by the temperature; results are [N] in nats.
The teacher's side is detached here, whatever the caller does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def generalized_jsd(student_logits: Tensor, teacher_logits: Tensor, beta: float) -> Tensor:
    """``beta KL(T||m) + (1 - beta) KL(S||m)`` with ``m = (1 - beta) S + beta T``, over the vocabulary.

    beta = 0 is the forward KL(T||S), beta = 1 the reverse KL(S||T): the limits of the sum divided by its small
    weight, as everywhere in the literature, since the sum itself goes to 0 at both ends. beta = .5 is the JSD.
    Source: GKD, arXiv:2306.13649.

    Args:
        student_logits: [N, V].
        teacher_logits: [N, V]; gets no gradient.
        beta: in [0, 1].

    Returns:
        [N].
    """
    return _jsd(student_logits.log_softmax(dim=-1), teacher_logits.detach().log_softmax(dim=-1), beta)


def topk_tail_jsd(student_logits: Tensor, teacher_logits: Tensor, indices: Tensor, beta: float) -> Tensor:
    """The generalised JSD of the two distributions coarsened to k tokens and one bucket for all the others.

    Source: SDPO, arXiv:2601.20802 (k = 100, the student's most likely tokens).

    Args:
        student_logits: [N, V].
        teacher_logits: [N, V]; gets no gradient.
        indices: int64 [N, k], distinct in each row, for example ``topk_indices(student_logits, 100)``.
        beta: in [0, 1].

    Returns:
        [N]; never above ``generalized_jsd``, and equal to it for k = V.
    """
    return _jsd(_with_tail(student_logits, indices), _with_tail(teacher_logits.detach(), indices), beta)


def topk_renormalized_jsd(student_logits: Tensor, teacher_logits: Tensor, indices: Tensor, beta: float) -> Tensor:
    """The generalised JSD of the two distributions conditioned on the k tokens; what lies outside has no say.

    Args:
        student_logits: [N, V].
        teacher_logits: [N, V]; gets no gradient.
        indices: int64 [N, k], distinct in each row.
        beta: in [0, 1].

    Returns:
        [N].
    """
    return generalized_jsd(student_logits.gather(-1, indices), teacher_logits.gather(-1, indices), beta)


def topk_indices(logits: Tensor, k: int) -> Tensor:
    """Indices int64 [N, min(k, V)] of the most likely tokens of logits [N, V]."""
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1; set it to the number of tokens kept apart, for example 100")
    return logits.detach().topk(min(k, logits.shape[-1]), dim=-1, sorted=False).indices


def _jsd(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """The generalised JSD [N] of normalised log-probs [N, K]."""
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}, expected a number in [0, 1]; set 0 for forward KL, 1 for reverse KL")
    if beta == 0:
        return _kl(teacher, student)
    if beta == 1:
        return _kl(student, teacher)
    mixture = torch.logaddexp(student + math.log1p(-beta), teacher + math.log(beta))
    return beta * _kl(teacher, mixture) + (1 - beta) * _kl(student, mixture)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p||q) [N] from log-probs [N, K]."""
    return (p.exp() * (p - q)).sum(dim=-1)


def _with_tail(logits: Tensor, indices: Tensor) -> Tensor:
    """Log-probs [N, k + 1] of the k tokens and of all others together; [N, V] if nothing else is left.

    The tail is a logsumexp over the other logits: ``log(1 - sum p)`` from the sum would be noise in float32 as soon
    as the k tokens hold nearly everything, and the forward KL divides by exactly that.
    """
    kept = logits.gather(-1, indices)
    if indices.shape[-1] < logits.shape[-1]:
        tail = logits.scatter(-1, indices, -math.inf).logsumexp(dim=-1, keepdim=True)
        kept = torch.cat([kept, tail], dim=-1)
    return kept.log_softmax(dim=-1)
