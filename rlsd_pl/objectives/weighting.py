"""How evidence scales the group advantage, token by token."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from rlsd_pl import functional as F


class EvidenceWeighting(ABC):
    """Turns group advantages and evidence into token advantages of the same sign."""

    direction: float = 1.0
    """-1 where evidence *against* the sampled token raises its weight."""

    @abstractmethod
    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
        """[B], [B, T], lambda in [0, 1], clip half-width -> [B, T], detached."""


class TwoSided(EvidenceWeighting):
    """w clipped to [1 - epsilon_w, 1 + epsilon_w]. RLSD 2604.03128, Algorithm 1."""

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
        return F.rlsd_credit(advantages, delta, strength, epsilon_w)


class OneSided(EvidenceWeighting):
    """min[w A, clip(w) A]: unbounded above for A < 0. RLSD 2604.03128, Eq. 16 as printed."""

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
        return F.rlsd_one_sided_credit(advantages, delta, strength, epsilon_w)


class NegativeOnly(EvidenceWeighting):
    """Two-sided where A < 0, plain A elsewhere: guards against responses that shrink. The official RLSD code."""

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
        return F.rlsd_negative_only_credit(advantages, delta, strength, epsilon_w)


class ReversedOnCorrect(EvidenceWeighting):
    """The ratio reversed where A > 0, plain A elsewhere. RLRT 2605.10781."""

    direction = -1.0

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
        return F.rlrt_credit(advantages, delta, strength, epsilon_w)


class ReversedOnAll(EvidenceWeighting):
    """The ratio reversed on every completion. RLRT-All, the ablation of 2605.10781."""

    direction = -1.0

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Tensor:
        return F.rlrt_all_credit(advantages, delta, strength, epsilon_w)
