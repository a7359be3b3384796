"""What an objective asks for beyond rewards: the sampled tokens scored under teachers, contexts and the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlsd_pl.contexts import Context
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.sampler import student_messages
from rlsd_pl.teachers import Teacher
from rlsd_pl.types import PaddedTokens, Rollout, RolloutBatch, Signal
from rlsd_pl.verifiers.base import Verifier

Groups = Sequence[Sequence[Rollout]]


@dataclass
class Scorer:
    """Scores completions without gradient.

    Attributes:
        verifier: its instruction is part of every prompt.
        contrast: rejected contexts, for objectives that declare ``CONTRAST_LOGPROBS``.
        reference: the initial policy, for objectives that declare ``REFERENCE_LOGPROBS``.
        batch_size: completions per forward.
        forward_context: precision context for forwards outside the training step.
    """

    policy: Policy
    teacher: Teacher
    context: Context
    verifier: Verifier
    temperature: float
    contrast: Context | None = None
    reference: Teacher | None = None
    batch_size: int = 64
    forward_context: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)

    def with_signals(self, batch: RolloutBatch, groups: Groups, signals: Signal) -> RolloutBatch:
        """The batch with the fields that these signals fill."""
        with self.forward_context():
            if signals & (Signal.TEACHER_LOGPROBS | Signal.TEACHER_DISTRIBUTION):
                prompts, has_context = self._teacher_prompts(groups)
                batch = replace(batch, has_context=has_context)
                if signals & Signal.TEACHER_DISTRIBUTION:
                    batch = replace(batch, teacher_prompts=prompts)
                if signals & Signal.TEACHER_LOGPROBS:
                    batch = replace(batch, teacher_logprobs=self._teacher_logprobs(batch, prompts, has_context))
            if signals & Signal.CONTRAST_LOGPROBS:
                scored, exists = self._contrast_logprobs(batch, groups)
                batch = replace(batch, contrast_logprobs=scored, contrast_mask=exists)
            if signals & Signal.REFERENCE_LOGPROBS:
                assert self.reference is not None
                with self.reference.scoring(self.policy) as model:
                    batch = replace(batch, reference_logprobs=self._score(model, batch.prompts, batch.completions))
        return batch

    def evidence(self, batch: RolloutBatch, groups: Groups) -> tuple[Tensor, Tensor]:
        """log P_T(y | x, r) - log P_S(y | x) [B, T], under this run's teacher and context whatever the objective, and
        bool [B, T]: the tokens of completions that have a context, which held-out ones may lack."""
        rollouts = [(group, index) for group in groups for index in range(len(group))]
        known = [self.context.check(group[index].problem) is None for group, index in rollouts]
        texts = [self.context.privileged(*r) if known[n] else None for n, r in enumerate(rollouts)]
        with self.forward_context():
            prompts, has_context = self._prompts_with(self.context, texts, groups)
            scored = self._teacher_logprobs(batch, prompts, has_context)
        return scored - batch.rollout_logprobs, batch.completions.mask & has_context[:, None]

    def _teacher_logprobs(self, batch: RolloutBatch, prompts: PaddedTokens, has_context: Tensor) -> Tensor:
        with self.teacher.scoring(self.policy) as model:
            scored = self._score(model, prompts, batch.completions)
        # Without a context the teacher has nothing to say: the evidence is 0, not that of an empty prompt.
        return torch.where(has_context[:, None], scored, batch.rollout_logprobs)

    def _teacher_prompts(self, groups: Groups) -> tuple[PaddedTokens, Tensor]:
        """Prompts (x, r) of all completions, and bool [B]: whether the context had something to show."""
        texts = [self.context.privileged(group, index) for group in groups for index in range(len(group))]
        return self._prompts_with(self.context, texts, groups)

    def _prompts_with(
        self, context: Context, texts: Sequence[str | None], groups: Groups
    ) -> tuple[PaddedTokens, Tensor]:
        encoded = []
        places = [(group, index) for group in groups for index in range(len(group))]
        for text, (group, index) in zip(texts, places, strict=True):
            problem = group[index].problem
            messages = student_messages(problem, self.verifier)
            if text is not None:
                worded = context.choice(group, index)
                asked = replace(problem, messages=messages) if worded.instruction else problem
                messages = worded.messages(asked, text)
            encoded.append(self.policy.encode(messages))
        shown = torch.tensor([text is not None for text in texts])
        return PaddedTokens.prompts(encoded, self.policy.pad_id), shown

    def _contrast_logprobs(self, batch: RolloutBatch, groups: Groups) -> tuple[Tensor, Tensor]:
        """Log-probs [B, K, T] under K rejected contexts, and bool [B, K]: which of them exist.

        Absent ones are scored too: under FSDP all processes have to run the same number of forwards.
        """
        assert self.contrast is not None
        texts = [self.contrast.alternatives(group, index) for group in groups for index in range(len(group))]
        scored, exists = [], []
        with self.teacher.scoring(self.policy) as model:
            for k in range(self.contrast.count):
                kth = [row[k] if k < len(row) else None for row in texts]
                prompts, shown = self._prompts_with(self.contrast, kth, groups)
                scored.append(self._score(model, prompts, batch.completions))
                exists.append(shown)
        return torch.stack(scored, dim=1), torch.stack(exists, dim=1)

    @torch.no_grad()
    def _score(self, model: Policy, prompts: PaddedTokens, completions: PaddedTokens) -> Tensor:
        """Log-probs [B, T] in length-sorted batches without needless padding."""
        was_training = model.training
        model.eval()
        scored = torch.zeros(completions.ids.shape)
        lengths = prompts.mask.sum(dim=1) + completions.mask.sum(dim=1)
        for rows in lengths.argsort(stable=True).split(self.batch_size):
            part = completions.rows(rows)
            logprobs = model(prompts.rows(rows).to(model.device), part.to(model.device), self.temperature).logprobs
            scored[rows, : part.ids.shape[1]] = logprobs.float().cpu()
        model.train(was_training)
        return scored
