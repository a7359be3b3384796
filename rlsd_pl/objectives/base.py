"""The interface that every method of the comparison implements."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from rlsd_pl.objectives.parts import (
    AdvantageEstimator,
    Divergence,
    GroupNormalized,
    PPOClip,
    Reduction,
    Surrogate,
    TokenMean,
    Truncation,
    ZeroReward,
)
from rlsd_pl.types import Credit, RolloutBatch, Signal, TokenLoss, TokenScores


class Objective(ABC):
    """What to learn from a rollout: token credit, and the loss that it enters.

    A method is a subclass with a :meth:`credit`; the rest is shared, so that two methods differ in nothing else. An
    objective sees tensors and numbers only, never text, modules or configuration.

    Args:
        advantage: group advantage estimator; default :class:`GroupNormalized`.
        surrogate: policy-gradient surrogate; default :class:`PPOClip` (.2, .28).
        reduction: default :class:`TokenMean`.
        truncation: what a completion without EOS is worth; default :class:`ZeroReward`.
        entropy_bonus: factor of the entropy (nats) that is added to what is maximised.
    """

    signals: Signal = Signal.NONE
    """What must be computed for this objective beyond rewards."""

    divergence: Divergence | None = None
    """Distribution term, for objectives whose signals hold ``TEACHER_DISTRIBUTION``."""

    def __init__(
        self,
        advantage: AdvantageEstimator | None = None,
        surrogate: Surrogate | None = None,
        reduction: Reduction | None = None,
        truncation: Truncation | None = None,
        entropy_bonus: float = 0.0,
    ) -> None:
        self.advantage = advantage or GroupNormalized()
        self.surrogate = surrogate or PPOClip()
        self.reduction = reduction or TokenMean()
        self.truncation = truncation or ZeroReward()
        self.entropy_bonus = entropy_bonus

    @abstractmethod
    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        """Token advantages of a rollout, once, when it is collected.

        Args:
            batch: the whole rollout of this process, with the signals that were asked for.
            iteration: 0-based, for schedules.
        """

    def loss(self, batch: RolloutBatch, scores: TokenScores) -> TokenLoss:
        """Per-token loss [B, T] of one micro-batch. Gradient flows through ``scores`` alone."""
        loss = -self.entropy_bonus * scores.entropy
        diagnostics: dict[str, Tensor] = {"entropy": scores.entropy.detach()}
        if batch.token_advantages is not None:
            old = batch.rollout_logprobs if batch.off_policy else scores.logprobs.detach()
            inputs = (scores.logprobs, old, batch.token_advantages)
            loss = loss + self.surrogate(*inputs, batch.loss_mask)
            clipped = self.surrogate.clipped(*inputs)
            if clipped is not None:
                diagnostics["ratio_clip_fraction"] = clipped
        if self.divergence is not None:
            assert scores.divergence is not None
            loss = loss + self.divergence.weight * scores.divergence
            diagnostics["divergence"] = scores.divergence.detach()
        return TokenLoss(loss, diagnostics)
