"""A rollout as tensors: what the teacher's side adds to it, and the micro-batches that it is cut into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from rlsd_pl.types.credit import Credit
from rlsd_pl.types.signals import MissingSignalError
from rlsd_pl.types.tensors import PER_TOKEN, PaddedTokens, TensorRows


@dataclass(frozen=True, slots=True)
class TeacherScores(TensorRows):
    """The sampled tokens under the teacher and its context, :attr:`Signal.TEACHER`.

    Attributes:
        logprobs: [B, T] log P_T(y_t | x, r) in nats; the policy's own where there is no context.
        has_context: bool [B], False where the context had nothing to show.
        entropy: [B, T] nats, of the teacher's predictive distribution; 0 where there is no context.
    """

    logprobs: Tensor = field(metadata=PER_TOKEN)
    has_context: Tensor = field()
    entropy: Tensor | None = field(default=None, metadata=PER_TOKEN)


@dataclass(frozen=True, slots=True)
class ContrastScores(TensorRows):
    """The sampled tokens under the teacher and up to K rejected contexts, :attr:`Signal.CONTRAST`.

    Attributes:
        logprobs: [B, K, T] in nats.
        exists: bool [B, K], True where there is such a context.
    """

    logprobs: Tensor = field(metadata=PER_TOKEN)
    exists: Tensor = field()


@dataclass(frozen=True, slots=True)
class DistillationPrompts(TensorRows):
    """What the teacher is conditioned on in a divergence over the vocabulary, :attr:`Signal.DISTRIBUTION`.

    Attributes:
        prompts: (x, r), [B, L'] left-padded.
        has_context: bool [B], False where the context had nothing to show.
    """

    prompts: PaddedTokens
    has_context: Tensor


@dataclass(frozen=True, slots=True)
class RolloutBatch(TensorRows):
    """Completions with everything that credit and loss are computed from; rows are completions.

    What a :class:`Signal` names is ``None`` unless the objective asked for it; read it through :func:`present`.

    Attributes:
        prompts: the student's prompts, [B, L] left-padded.
        completions: sampled ids, [B, T] right-padded; the mask includes EOS.
        rollout_logprobs: [B, T] log-probs (nats) at sampling time; 0 at padding.
        rewards: [B].
        advantages: [B] group advantages, computed on [P, G] before anything is shuffled.
        loss_mask: bool [B, T], the completion mask without samples that must not be learnt from (verifier errors,
            truncated completions under that policy).
        off_policy: True where several updates reuse one rollout, so that pi_old is ``rollout_logprobs``. Otherwise
            pi_old is the detached current policy and costs no forward.
        teacher: under the privileged context.
        contrast: under rejected contexts.
        distillation: for a divergence from the teacher.
        reference: [B, T] log-probs under the reference policy.
        entropy: [B, T] nats, of the policy's predictive distribution at rollout time.
        span: bool [B, T], the tokens that the objective's ``span`` matches; ``None`` without a span.
        verdict_spans: bool [B, T] by name, the tokens of the verdicts' spans that the objective needs: :meth:`marked`.
        token_advantages: [B, T] what ``Objective.credit`` made of it; ``None`` before, or if it has no such term.
        distribution_weights: [B, T] what ``Objective.credit`` made of it: the divergence's factor.
    """

    prompts: PaddedTokens
    completions: PaddedTokens
    rollout_logprobs: Tensor = field(metadata=PER_TOKEN)
    rewards: Tensor = field()
    advantages: Tensor = field()
    loss_mask: Tensor = field(metadata=PER_TOKEN)
    off_policy: bool = False
    teacher: TeacherScores | None = None
    contrast: ContrastScores | None = None
    distillation: DistillationPrompts | None = None
    reference: Tensor | None = field(default=None, metadata=PER_TOKEN)
    entropy: Tensor | None = field(default=None, metadata=PER_TOKEN)
    span: Tensor | None = field(default=None, metadata=PER_TOKEN)
    verdict_spans: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor], metadata=PER_TOKEN)
    token_advantages: Tensor | None = field(default=None, metadata=PER_TOKEN)
    distribution_weights: Tensor | None = field(default=None, metadata=PER_TOKEN)

    def __len__(self) -> int:
        return self.completions.ids.shape[0]

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True), lambda padded: padded.to(device))

    def select(self, rows: Tensor) -> Self:
        """Some of the rows, with the padding trimmed to the longest of them.

        Args:
            rows: int64 indices.
        """
        chosen = self.mapped(lambda tensor: tensor[rows], lambda padded: padded.rows(rows))
        return chosen.trimmed(chosen.completions.ids.shape[1])

    def marked(self, span: str) -> Tensor:
        """bool [B, T]: the tokens that the verdicts' spans of this name mark.

        Raises:
            MissingSignalError: if the objective's needs do not name it.
        """
        if span not in self.verdict_spans:
            raise MissingSignalError(
                f"The batch marks the verdict spans {sorted(self.verdict_spans)}, and the objective reads {span!r}. "
                "Add it to the `verdict_spans` of the objective's needs, so that it is computed."
            )
        return self.verdict_spans[span]

    def credited(self, credit: Credit) -> Self:
        """The same batch with what ``Objective.credit`` made of it: what losses and counts are computed from."""
        weights = credit.distribution_weights
        if weights is not None and weights.dim() == 1:
            weights = weights[:, None].expand(self.loss_mask.shape)
        return replace(
            self,
            token_advantages=credit.token_advantages,
            distribution_weights=weights,
            loss_mask=self.loss_mask if credit.loss_mask is None else self.loss_mask & credit.loss_mask,
        )


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward and backward.

    Attributes:
        batch: some rows of the rollout, padding trimmed.
        loss_count: the reduction's divisor, counted over the whole optimizer batch: all micro-batches, all processes.
        temperature: of sampling; scoring divides the logits by the same.
        tokens: under the loss mask of these rows.
    """

    batch: RolloutBatch
    loss_count: float
    temperature: float
    tokens: int

    def to(self, device: torch.device | str) -> MicroBatch:
        """The same on another device."""
        return replace(self, batch=self.batch.to(device))
