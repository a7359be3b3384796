"""Distribution terms: divergences of teacher and student over the vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl import functional as F


class Divergence(ABC):
    """A distribution term: token-wise divergence of teacher and student over the vocabulary."""

    @abstractmethod
    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """[n, V], [n, V] -> [n] nats; gradient through the student alone."""


@dataclass(frozen=True)
class GeneralizedJSD(Divergence):
    """beta KL(T||m) + (1-beta) KL(S||m), m = (1-beta) S + beta T, over the full vocabulary. GKD 2306.13649.

    Attributes:
        beta: 0 is forward KL(T||S), 1 is reverse KL(S||T), .5 the Jensen-Shannon divergence.
    """

    beta: float = 1.0

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return F.generalized_jsd(student_logits, teacher_logits, self.beta)


@dataclass(frozen=True)
class TopKTail(GeneralizedJSD):
    """The generalised JSD over the student's k likeliest tokens and one bucket for all others. SDPO, 2601.20802.

    Attributes:
        k: tokens kept apart.
    """

    k: int = 100

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return F.topk_tail_jsd(student_logits, teacher_logits, F.topk_indices(student_logits, self.k), self.beta)


@dataclass(frozen=True)
class TopKRenormalized(GeneralizedJSD):
    """The generalised JSD conditioned on the student's k likeliest tokens; what lies outside has no say.

    Attributes:
        k: tokens that are compared.
    """

    k: int = 100

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return F.topk_renormalized_jsd(
            student_logits, teacher_logits, F.topk_indices(student_logits, self.k), self.beta
        )
