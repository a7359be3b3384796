"""How evidence weighs the tokens of a completion: factors on its group advantage.

The evidence Delta [B, T] is a log-ratio in nats: ``logP_T - logP_S``, or a contrast of two contexts of the teacher. Its
weight ``w_t = exp(sign(A) * Delta_t)`` is positive, so that the sign of the update is the reward's alone, and it is 1
where the advantage or the evidence is 0. An infinite Delta is read as the largest finite one; a NaN is passed on, so
that a broken teacher is seen and not averaged away.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Weights(NamedTuple):
    """What a weighting makes of evidence.

    Attributes:
        weights: [B, T], ``(1 - lambda) + lambda * w_t``, detached; token advantages are the group advantage times it.
        clipped: bool [B, T], the tokens whose ``w_t`` the clip has changed, whatever lambda is.
    """

    weights: Tensor
    clipped: Tensor


class EvidenceWeighting(ABC):
    """Factors on the group advantages, from evidence."""

    @abstractmethod
    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Weights:
        """Weights [B, T] and clip mask [B, T].

        Args:
            advantages: [B].
            delta: [B, T] evidence in nats.
            strength: lambda in the paper, in [0, 1]; at 0 every weight is exactly 1.
            epsilon_w: half-width of the clip on ``w_t``, 0 or more; from 1 on the lower side is open.

        Raises:
            ValueError: for a strength or an epsilon_w outside these ranges.
        """


@dataclass(frozen=True)
class TwoSided(EvidenceWeighting):
    """``w_t = clip(exp(sign(A) * Delta_t), 1 - epsilon_w, 1 + epsilon_w)``.

    The exponent is clamped before it is exponentiated, which is the same number and cannot overflow.
    Source: RLSD, arXiv:2604.03128, Algorithm 1.

    >>> advantages, delta = torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.1], [1.0, 0.1]])
    >>> weights, clipped = TwoSided()(advantages, delta, strength=0.5, epsilon_w=0.2)
    >>> weights
    tensor([[1.1000, 1.0526],
            [0.9000, 0.9524]])
    >>> clipped
    tensor([[ True, False],
            [ True, False]])
    """

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Weights:
        lower, upper = _log_bounds(epsilon_w)
        exponent = _signed(delta, advantages)
        return _blended(exponent.clamp(lower, upper), (exponent < lower) | (exponent > upper), strength)


@dataclass(frozen=True)
class OneSided(EvidenceWeighting):
    """The w with ``w A = min[w_t A, clip(w_t, 1 - epsilon_w, 1 + epsilon_w) A]``, ``w_t = exp(sign(A) * Delta_t)``.

    For A > 0 only the upper bound binds, for A < 0 only the lower: then the weight is unbounded above, and an exponent
    beyond the range of the dtype is cut there. Source: RLSD, arXiv:2604.03128, equation 16 as printed.

    >>> advantages, delta = torch.tensor([1.0, -1.0]), torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    >>> OneSided()(advantages, delta, strength=1.0, epsilon_w=0.2).weights
    tensor([[1.2000, 0.3679],
            [0.8000, 2.7183]])
    """

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Weights:
        lower, upper = _log_bounds(epsilon_w)
        exponent, right = _signed(delta, advantages), advantages.detach().unsqueeze(1) > 0
        largest = math.log(torch.finfo(delta.dtype).max) - 1
        clamped = torch.where(right, exponent.clamp(max=upper), exponent.clamp(lower, largest))
        return _blended(clamped, torch.where(right, exponent > upper, exponent < lower), strength)


@dataclass(frozen=True)
class NegativeOnly(TwoSided):
    """The two-sided weight where A < 0, 1 elsewhere, which guards against responses that shrink.

    Source: the ``negative_only`` option of the official RLSD code.

    >>> advantages, delta = torch.tensor([1.0, -1.0]), torch.tensor([[1.0], [1.0]])
    >>> NegativeOnly()(advantages, delta, strength=1.0, epsilon_w=0.2).weights
    tensor([[1.0000],
            [0.8000]])
    """

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Weights:
        return _only_where(advantages < 0, super().__call__(advantages, delta, strength, epsilon_w))


@dataclass(frozen=True)
class ReversedOnAll(TwoSided):
    """The ratio reversed, ``w_t = clip(exp(-sign(A) * Delta_t), 1 - epsilon_w, 1 + epsilon_w)``, on every completion.

    Source: RLRT-All, the ablation of RLRT, arXiv:2605.10781.

    >>> advantages, delta = torch.tensor([1.0, -1.0]), torch.tensor([[1.0], [1.0]])
    >>> ReversedOnAll()(advantages, delta, strength=1.0, epsilon_w=0.2).weights
    tensor([[0.8000],
            [1.2000]])
    """

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Weights:
        return super().__call__(advantages, -delta, strength, epsilon_w)


@dataclass(frozen=True)
class ReversedOnCorrect(ReversedOnAll):
    """The reversed weight where A > 0, 1 elsewhere: credit to what the teacher would not have said.

    Source: RLRT, arXiv:2605.10781.

    >>> advantages, delta = torch.tensor([1.0, -1.0]), torch.tensor([[1.0], [1.0]])
    >>> ReversedOnCorrect()(advantages, delta, strength=1.0, epsilon_w=0.2).weights
    tensor([[0.8000],
            [1.0000]])
    """

    def __call__(self, advantages: Tensor, delta: Tensor, strength: float, epsilon_w: float) -> Weights:
        return _only_where(advantages > 0, super().__call__(advantages, delta, strength, epsilon_w))


@dataclass(frozen=True)
class EvidenceGate:
    """``floor + 1 - exp(-relu(sign(A) * Delta_t))``: from floor, without evidence for the update, to floor + 1.

    Our own, of no paper.

    Attributes:
        floor: 0 or more.

    Raises:
        ValueError: for another one.

    >>> advantages, delta = torch.tensor([1.0, -1.0]), torch.tensor([[0.6931, 0.0], [0.6931, -0.6931]])
    >>> EvidenceGate(floor=0.1)(advantages, delta)
    tensor([[0.6000, 0.1000],
            [0.1000, 0.6000]])
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.floor < math.inf:
            raise ValueError(f"floor is {self.floor}, expected a number >= 0; set 0 for none, 1 to keep RLVR's credit")

    def __call__(self, advantages: Tensor, delta: Tensor) -> Tensor:
        """Factors [B, T] on the group advantages [B], from evidence [B, T] in nats; detached."""
        return self.floor - torch.expm1(-_signed(delta, advantages).relu())


def _signed(delta: Tensor, advantages: Tensor) -> Tensor:
    """``sign(A) * Delta_t`` [B, T] with infinities made finite, because 0 * inf would be NaN where A = 0."""
    return advantages.detach().sign().unsqueeze(1) * torch.nan_to_num(delta.detach(), nan=math.nan)


def _log_bounds(epsilon_w: float) -> tuple[float, float]:
    """``log(1 - epsilon_w)``, minus infinity from epsilon_w = 1 on, and ``log(1 + epsilon_w)``."""
    if not epsilon_w >= 0:
        raise ValueError(f"epsilon_w is {epsilon_w}, expected a number >= 0; set 0.2 for the paper's clip")
    return (math.log1p(-epsilon_w) if epsilon_w < 1 else -math.inf), math.log1p(epsilon_w)


def _blended(exponent: Tensor, clipped: Tensor, strength: float) -> Weights:
    """``(1 - lambda) + lambda * exp(exponent)`` [B, T]; ``lerp`` is exact at lambda = 0 and at a weight of 1."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength (lambda) is {strength}, expected a number in [0, 1]; set 0 for plain RLVR")
    return Weights(torch.lerp(torch.ones_like(exponent), exponent.exp(), strength), clipped)


def _only_where(rows: Tensor, weights: Weights) -> Weights:
    """The weights of some rows, bool [B]; 1 and not clipped in the others."""
    column = rows.unsqueeze(1)
    return Weights(weights.weights.masked_fill(~column, 1.0), weights.clipped & column)
