"""The signals that an objective asks for: sampled tokens scored under teachers, contexts and the reference policy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlsd_pl.collectives import global_max
from rlsd_pl.contexts import Context
from rlsd_pl.errors import UserCodeError
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.micro_batches import RowLengths, cut
from rlsd_pl.rollout.sampler import student_messages, teacher_messages
from rlsd_pl.teachers import Teacher
from rlsd_pl.types import (
    ContrastScores,
    DistillationPrompts,
    PaddedTokens,
    Problem,
    Rollout,
    RolloutBatch,
    Signal,
    TeacherScores,
    TokenScores,
    present,
)
from rlsd_pl.verifiers.base import Verifier

log = logging.getLogger(__name__)

Groups = Sequence[Sequence[Rollout]]


@dataclass(kw_only=True)
class Scorer:
    """Scores completions without gradient.

    Attributes:
        teacher: scores under ``context`` and ``contrast``.
        verifier: its instruction is part of every prompt.
        temperature: of sampling.
        contrast: rejected contexts, for objectives that need ``Signal.CONTRAST``.
        reference: the reference policy, for objectives that need ``Signal.REFERENCE``.
        max_prompt_tokens: a longer teacher's prompt is not scored: the completion counts as without a context.
        batch_size: completions per forward.
        forward_context: precision context for forwards outside the training step.
        passes: forwards for the last batch's signals, with the lengths of their rows; those of a distribution term,
            which the update makes, too.
    """

    policy: Policy
    teacher: Teacher
    context: Context
    verifier: Verifier
    temperature: float
    contrast: Context | None = None
    reference: Teacher | None = None
    max_prompt_tokens: int | None = None
    batch_size: int = 64
    forward_context: Callable[[], AbstractContextManager[object]] = nullcontext
    passes: list[tuple[Policy, RowLengths]] = field(default_factory=list[tuple[Policy, RowLengths]], init=False)

    def with_signals(self, batch: RolloutBatch, groups: Groups, signals: Signal) -> RolloutBatch:
        """The batch with the fields that these signals fill."""
        self.passes.clear()
        with self.forward_context():
            if signals & (Signal.TEACHER | Signal.DISTRIBUTION):
                prompts, has_context = self._teacher_prompts(groups)
                if signals & Signal.DISTRIBUTION:
                    self._count(self.teacher.model(self.policy), prompts, batch.completions)
                    batch = replace(batch, distillation=DistillationPrompts(prompts, has_context))
                if signals & Signal.TEACHER:
                    batch = replace(batch, teacher=self._teacher_scores(batch, prompts, has_context))
            if signals & Signal.CONTRAST:
                batch = replace(batch, contrast=self._contrast_scores(batch, groups))
            if signals & Signal.REFERENCE:
                with present(self.reference, Signal.REFERENCE).scoring(self.policy) as model:
                    batch = replace(batch, reference=self._score(model, batch.prompts, batch.completions).logprobs)
            if signals & Signal.ENTROPY:
                batch = replace(batch, entropy=self._score(self.policy, batch.prompts, batch.completions).entropy)
        return batch

    def evidence(self, batch: RolloutBatch, groups: Groups) -> tuple[Tensor, Tensor]:
        """log P_T(y | x, r) - log P_S(y | x) [B, T], under this run's teacher and context whatever the objective, and
        bool [B, T]: the tokens of completions that have a context, which held-out ones may lack."""
        rollouts = [(group, index) for group in groups for index in range(len(group))]
        known = [self.context.check(group[index].problem) is None for group, index in rollouts]
        texts = [self.context.privileged(*r) if known[n] else None for n, r in enumerate(rollouts)]
        with self.forward_context():
            prompts, has_context = self._prompts_with(self.context, texts, groups)
            scored = self._teacher_scores(batch, prompts, has_context).logprobs
        return scored - batch.rollout_logprobs, batch.completions.mask & has_context[:, None]

    def no_evidence(self) -> None:
        """:meth:`evidence` on a process that has no completion while others have some: it joins in their forwards."""
        token = [[self.policy.pad_id]]
        prompts, completions = PaddedTokens.prompts(token, token[0][0]), PaddedTokens.completions(token, token[0][0])
        with self.forward_context(), self.teacher.scoring(self.policy) as model:
            self._score_evenly(model, prompts, completions)

    def student_logprobs(self, prompts: PaddedTokens, completions: PaddedTokens) -> Tensor:
        """[B, T] nats: the completions, at least one, under the policy itself, whoever wrote them.

        Processes may bring different numbers of them.
        """
        with self.forward_context():
            return self._score_evenly(self.policy, prompts, completions).logprobs

    def _teacher_scores(self, batch: RolloutBatch, prompts: PaddedTokens, has_context: Tensor) -> TeacherScores:
        with self.teacher.scoring(self.policy) as model:
            scored = self._score_evenly(model, prompts, batch.completions)
        # Without a context the evidence is 0, not that of a prompt without privileged text.
        column = has_context[:, None]
        logprobs = torch.where(column, scored.logprobs, batch.rollout_logprobs)
        return TeacherScores(logprobs, has_context, scored.entropy.masked_fill(~column, 0.0))

    def _teacher_prompts(self, groups: Groups) -> tuple[PaddedTokens, Tensor]:
        """Prompts (x, r) of all completions, and bool [B]: whether the context had something to show."""
        texts = [self.context.privileged(group, index) for group in groups for index in range(len(group))]
        return self._prompts_with(self.context, texts, groups)

    def _prompts_with(
        self, context: Context, texts: Sequence[str | None], groups: Groups
    ) -> tuple[PaddedTokens, Tensor]:
        """Prompts of all completions, each text of a problem encoded once, and bool [B]: which hold a text."""
        places = [(group, index) for group in groups for index in range(len(group))]
        written: dict[tuple[int, int, str | None], list[int] | None] = {}
        encoded, shown = [], []
        for text, (group, index) in zip(texts, places, strict=True):
            problem = group[index].problem
            check_privileged(context, problem, text)
            chosen = context if text is None else context.choice(group, index)
            key = (id(problem), id(chosen), text)
            if key not in written:
                written[key] = None if text is None else self._teacher_prompt(chosen, problem, text)
            ids = written[key]
            encoded.append(self.policy.encode(student_messages(problem, self.verifier)) if ids is None else ids)
            shown.append(ids is not None)
        if too_long := sum(text is not None for text in texts) - sum(shown):
            log.warning(
                "%d of %d teacher prompts are longer than %d tokens; these completions count as without a context "
                "(rollout/no_context). Shorten the context, or set data.max_teacher_prompt_tokens.",
                too_long, len(texts), self.max_prompt_tokens,
            )  # fmt: skip
        return PaddedTokens.prompts(encoded, self.policy.pad_id), torch.tensor(shown)

    def _teacher_prompt(self, context: Context, problem: Problem, text: str) -> list[int] | None:
        """Token ids of (x, r); ``None`` if they are too many."""
        ids = self.policy.encode(teacher_messages(context, problem, self.verifier, text))
        return ids if self.max_prompt_tokens is None or len(ids) <= self.max_prompt_tokens else None

    def _contrast_scores(self, batch: RolloutBatch, groups: Groups) -> ContrastScores:
        """Absent contexts are scored too: under FSDP all processes have to run the same number of forwards."""
        contrast = present(self.contrast, Signal.CONTRAST)
        texts = [contrast.alternatives(group, index) for group in groups for index in range(len(group))]
        scored, exists = [], []
        with self.teacher.scoring(self.policy) as model:
            for k in range(contrast.count):
                kth = [row[k] if k < len(row) else None for row in texts]
                prompts, shown = self._prompts_with(contrast, kth, groups)
                scored.append(self._score(model, prompts, batch.completions).logprobs)
                exists.append(shown)
        return ContrastScores(torch.stack(scored, dim=1), torch.stack(exists, dim=1))

    def _score_evenly(self, model: Policy, prompts: PaddedTokens, completions: PaddedTokens) -> TokenScores:
        """:meth:`_score` of as many rows as the process with the most of them has: the last one again.

        Under FSDP a forward is collective, so all processes have to make the same number of them.
        """
        count = len(prompts.ids)
        most = global_max(count, self.policy.device)
        if most > count:
            rows = torch.arange(most).clamp(max=count - 1)
            prompts, completions = prompts.rows(rows), completions.rows(rows)
        scored = self._score(model, prompts, completions)
        return TokenScores(scored.logprobs[:count], scored.entropy[:count])

    @torch.no_grad()
    def _score(self, model: Policy, prompts: PaddedTokens, completions: PaddedTokens) -> TokenScores:
        """Log-probs and entropy [B, T], on the CPU."""
        logprobs, entropy = torch.zeros(completions.ids.shape), torch.zeros(completions.ids.shape)
        self._count(model, prompts, completions)
        with model.evaluating():
            lengths = RowLengths.of(prompts, completions, model.shares_prefixes(gradients=False))
            for rows in cut(torch.arange(len(logprobs)), self.batch_size, lengths):
                part = completions.rows(rows)
                scores = model(prompts.rows(rows).to(model.device), part.to(model.device), self.temperature)
                width = part.ids.shape[1]
                logprobs[rows, :width] = scores.logprobs.float().cpu()
                entropy[rows, :width] = scores.entropy.float().cpu()
        return TokenScores(logprobs, entropy)

    def _count(self, model: Policy, prompts: PaddedTokens, completions: PaddedTokens) -> None:
        self.passes.append((model, RowLengths.of(prompts, completions, shared=True)))


def check_privileged(context: Context, problem: Problem, text: object) -> None:
    """Refuse what a context of a user's own gave in the place of a text.

    Raises:
        UserCodeError: unless it is ``None`` or text that is not blank.
    """
    if text is not None and not (isinstance(text, str) and text.strip()):
        raise UserCodeError(
            f"{type(context).__name__} gave {text!r:.80} as the privileged text of problem {problem.id}; expected text "
            "that is not blank, or None where there is nothing to show."
        )
