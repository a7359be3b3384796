"""The interface that every method of the comparison implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from rlsd_pl.objectives.parts import (
    AdvantageEstimator,
    Divergence,
    GroupNormalized,
    ImportanceCorrection,
    PPOClip,
    Reduction,
    ReferenceKL,
    Surrogate,
    TokenMean,
    Truncation,
    ZeroReward,
)
from rlsd_pl.patterns import TextPattern
from rlsd_pl.types import Credit, RolloutBatch, Signal, TokenLoss, TokenScores, present


@dataclass(frozen=True)
class Needs:
    """What an objective needs beyond the rewards of the policy's own samples. What it does not name is not computed.

    Attributes:
        signals: fields of the batch that the collector fills in.
        divergence: distribution term over the vocabulary; goes with ``Signal.DISTRIBUTION``; ``Credit`` weighs it.
        span: pattern in a completion's text whose tokens ``RolloutBatch.span`` marks.
        verdict_spans: names in ``Verdict.spans`` whose tokens :meth:`RolloutBatch.marked` gives; a run whose verifier
            marks no such spans does not start.
        demonstrations: keys into ``Problem.privileged``; the first that a problem has is learnt from in place of the
            policy's own samples. Empty for every on-policy objective.
        entropy_gradient: whether ``TokenScores.entropy`` is differentiated.
    """

    signals: Signal = Signal.NONE
    divergence: Divergence | None = None
    span: TextPattern | None = None
    verdict_spans: tuple[str, ...] = ()
    demonstrations: tuple[str, ...] = ()
    entropy_gradient: bool = False

    def plus(self, signals: Signal = Signal.NONE, **others: Any) -> Self:
        """These and further needs."""
        return replace(self, signals=self.signals | signals, **others)


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
        reference_kl: penalty on the distance from the initial policy; off by default.
        importance: correction for an engine whose log-probs are not the trainer's; off by default.

    Attributes:
        distillation_scale: factor on the weight of all that a teacher says: on the strength of evidence, on a
            divergence, on evidence that is itself the advantage. A method with a teacher multiplies by it; 1 changes
            no bit. Leakage detection lowers it (``--leakage.on_leak Scale``).
        unused: which of these arguments do nothing in a method, which therefore refuses them.

    Raises:
        ValueError: for an argument that the method does not use.
    """

    unused: tuple[str, ...] = ()

    def __init__(
        self,
        advantage: AdvantageEstimator | None = None,
        surrogate: Surrogate | None = None,
        reduction: Reduction | None = None,
        truncation: Truncation | None = None,
        entropy_bonus: float = 0.0,
        reference_kl: ReferenceKL | None = None,
        importance: ImportanceCorrection | None = None,
    ) -> None:
        for name, given in (("advantage", advantage), ("surrogate", surrogate)):
            if given is not None and name in self.unused:
                raise ValueError(
                    f"Got objective.{name}={type(given).__name__}, which does nothing in {type(self).__name__}: no "
                    "reward is in its loss. Leave it out."
                )
        self.advantage = advantage or GroupNormalized()
        self.surrogate = surrogate or PPOClip()
        self.reduction = reduction or TokenMean()
        self.truncation = truncation or ZeroReward()
        self.entropy_bonus = entropy_bonus
        self.reference_kl = reference_kl
        self.importance = importance
        self.distillation_scale = 1.0

    @property
    def needs(self) -> Needs:
        """What must be computed for this objective; a method adds its own with :meth:`Needs.plus`."""
        reference = Signal.NONE if self.reference_kl is None else Signal.REFERENCE
        return Needs(reference, entropy_gradient=self.entropy_bonus != 0)

    @abstractmethod
    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        """Token advantages [B, T] of a rollout, and weights [B] or [B, T] of the distribution term, once, when it is
        collected.

        Args:
            batch: the whole rollout of this process, with the signals that were asked for.
            iteration: 0-based, for schedules.
        """

    def loss(self, batch: RolloutBatch, scores: TokenScores) -> TokenLoss:
        """Per-token loss [B, T] of one micro-batch, and what to log of its tokens.

        Args:
            batch: some rows of the rollout, with credit.
            scores: [B, T] of the policy as it stands; gradient flows through it alone.
        """
        loss = -self.entropy_bonus * scores.entropy
        diagnostics: dict[str, Tensor] = {"entropy": scores.entropy.detach()}
        for term in (self._policy_term, self._distribution_term, self._reference_term):
            value = term(batch, scores, diagnostics)
            loss = loss if value is None else loss + value
        return TokenLoss(loss, diagnostics)

    def _policy_term(self, batch: RolloutBatch, scores: TokenScores, diagnostics: dict[str, Tensor]) -> Tensor | None:
        if batch.token_advantages is None:
            return None
        old = batch.rollout_logprobs if batch.off_policy else scores.logprobs.detach()
        inputs = (scores.logprobs, old, batch.token_advantages, batch.loss_mask)
        clipped = self.surrogate.clipped(*inputs)
        if clipped is not None:
            diagnostics["ratio_clip_fraction"] = clipped.to(scores.logprobs.dtype)
        loss = self.surrogate(*inputs)
        # Off-policy, the surrogate's own ratio is that to the sampling distribution already.
        return loss if batch.off_policy else self._corrected(loss, batch, scores, diagnostics)

    def _distribution_term(
        self, batch: RolloutBatch, scores: TokenScores, diagnostics: dict[str, Tensor]
    ) -> Tensor | None:
        if batch.distribution_weights is None:
            return None
        divergence = present(scores.divergence, Signal.DISTRIBUTION)
        diagnostics["divergence"] = divergence.detach()
        weights = batch.distribution_weights
        loss = weights * divergence.masked_fill(weights == 0, 0.0)
        return self._corrected(loss, batch, scores, diagnostics)

    def _reference_term(
        self, batch: RolloutBatch, scores: TokenScores, diagnostics: dict[str, Tensor]
    ) -> Tensor | None:
        if self.reference_kl is None:
            return None
        kl = self.reference_kl(scores.logprobs, present(batch.reference, Signal.REFERENCE))
        diagnostics["reference_kl"] = kl.detach()
        return self.reference_kl.coefficient * kl

    def _corrected(
        self, loss: Tensor, batch: RolloutBatch, scores: TokenScores, diagnostics: dict[str, Tensor]
    ) -> Tensor:
        if self.importance is None:
            return loss
        diagnostics["importance"] = self.importance(scores.logprobs, batch.rollout_logprobs)
        return diagnostics["importance"] * loss
