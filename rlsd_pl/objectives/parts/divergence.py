"""Divergences of teacher and student over the vocabulary, token by token.

Three different losses, named apart: over the whole vocabulary, over k tokens and one tail bucket for all others, and
over k tokens renormalised. Logits are finite and already divided by the temperature. The teacher's side is detached
here, whatever the caller does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.functional import jsd
from rlsd_pl.functional.divergences import check_beta


class Divergence(ABC):
    """A distribution term: divergence of teacher and student over the vocabulary, for each token."""

    @abstractmethod
    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """The divergence; gradient flows through the student alone.

        Args:
            student_logits: [N, V].
            teacher_logits: [N, V].

        Returns:
            [N] in nats.
        """


@dataclass(frozen=True)
class GeneralizedJSD(Divergence):
    """``beta KL(T||m) + (1 - beta) KL(S||m)``, ``m = (1 - beta) S + beta T``, over the whole vocabulary.

    Source: GKD, arXiv:2306.13649, equation 1.

    Attributes:
        beta: in [0, 1]; 0 is the forward KL(T||S), 1 the reverse KL(S||T), .5 the Jensen-Shannon divergence.

    Raises:
        ValueError: outside [0, 1].

    >>> student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> GeneralizedJSD(beta=1.0)(student, teacher), GeneralizedJSD(beta=0.0)(student, teacher)
    (tensor([0.1438]), tensor([0.1308]))
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return jsd(student_logits.log_softmax(dim=-1), teacher_logits.detach().log_softmax(dim=-1), self.beta)


@dataclass(frozen=True)
class TopKTail(GeneralizedJSD):
    """The generalised JSD of the two distributions coarsened to the student's k likeliest tokens and one bucket.

    Never above :class:`GeneralizedJSD`, and equal to it for k = V. Source: SDPO, arXiv:2601.20802.

    Attributes:
        beta: in [0, 1].
        k: tokens kept apart, at least 1.

    Raises:
        ValueError: outside these ranges.

    >>> student, teacher = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    >>> TopKTail(k=1)(student, teacher)
    tensor([0.1438])
    """

    k: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_k(self.k)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        indices = _topk_indices(student_logits, self.k)
        return jsd(_with_tail(student_logits, indices), _with_tail(teacher_logits.detach(), indices), self.beta)


@dataclass(frozen=True)
class TopKRenormalized(GeneralizedJSD):
    """The generalised JSD conditioned on the student's k likeliest tokens; what lies outside plays no part.

    Source: the official SDPO code without its tail bucket, arXiv:2601.20802.

    Attributes:
        beta: in [0, 1].
        k: tokens that are compared, at least 1.

    Raises:
        ValueError: outside these ranges.

    >>> student, teacher = torch.tensor([[0.4, 0.4, 0.2]]).log(), torch.tensor([[0.1, 0.3, 0.6]]).log()
    >>> TopKRenormalized(k=2)(student, teacher)
    tensor([0.1438])
    """

    k: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_k(self.k)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        indices = _topk_indices(student_logits, self.k)
        return super().__call__(student_logits.gather(-1, indices), teacher_logits.gather(-1, indices))


@dataclass(frozen=True)
class EntryClippedJSD(GeneralizedJSD):
    """``sum_v min(d_v, clip)``, d_v the summands of the generalised JSD: what each vocabulary entry adds, cut above.

    No entry of the vocabulary can add more than ``clip``, and one that would has no gradient; without the cut, a few
    tokens of style hold most of a divergence. Summands can be negative, and so can this sum.
    Source: the clip of the official OPSD code (``jsd_token_clip``), which its runs set to .05 with beta = 0; it stands
    before the sum over the vocabulary. arXiv:2601.18734 calls it per-token pointwise KL clipping.

    Attributes:
        beta: in [0, 1]; 0, the forward KL(T||S), in those runs.
        clip: largest summand, in nats; above 0. Infinity is :class:`GeneralizedJSD`.

    Raises:
        ValueError: outside these ranges.

    >>> student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> EntryClippedJSD(clip=0.2)(student, teacher)  # of .25 log .5 = -.1733 and .75 log 1.5 = .3041
    tensor([0.0267])
    """

    beta: float = 0.0
    clip: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clip > 0:
            raise ValueError(f"clip is {self.clip}, expected a positive number; set 0.05 for the official code's")

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        student, teacher = student_logits.log_softmax(dim=-1), teacher_logits.detach().log_softmax(dim=-1)
        return self._entries(student, teacher).clamp(max=self.clip).sum(dim=-1)

    def _entries(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The summands [N, V], from log-probs [N, V]."""
        if self.beta == 0:
            return teacher.exp() * (teacher - student)
        if self.beta == 1:
            return student.exp() * (student - teacher)
        mixture = torch.logaddexp(student + math.log1p(-self.beta), teacher + math.log(self.beta))
        return self.beta * teacher.exp() * (teacher - mixture) + (1 - self.beta) * student.exp() * (student - mixture)


def _topk_indices(logits: Tensor, k: int) -> Tensor:
    """Indices int64 [N, min(k, V)] of the likeliest tokens of logits [N, V]."""
    return logits.detach().topk(min(k, logits.shape[-1]), dim=-1, sorted=False).indices


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


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1; set it to the number of tokens kept apart, for example 100")
