"""One rollout phase: problems in, verified and credited completions out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlsd_pl.contexts import Context
from rlsd_pl.distributed import Sums
from rlsd_pl.engines import Engine, OnProgress, demonstrate, ignore_progress
from rlsd_pl.functional import signal_free_groups
from rlsd_pl.objectives import Objective
from rlsd_pl.policy import Policy
from rlsd_pl.teachers import Teacher
from rlsd_pl.types import Message, PaddedTokens, Problem, Rollout, RolloutBatch, Sampling, Signal, Status
from rlsd_pl.verifiers.base import Verifier


class VerifierError(RuntimeError):
    """The verifier itself failed too often to train on what it says."""


@dataclass(frozen=True)
class RolloutSet:
    """What one process collected in one rollout phase.

    Attributes:
        groups: P lists of G rollouts.
        batch: the same, flattened to B = P * G rows (row = p * G + g), on the CPU, with credit.
        sums: weighted sums of everything to log, for :func:`rlsd_pl.distributed.global_means`.
    """

    groups: list[list[Rollout]]
    batch: RolloutBatch
    sums: Sums

    @property
    def rollouts(self) -> list[Rollout]:
        """The B rollouts in row order."""
        return [rollout for group in self.groups for rollout in group]


def student_messages(problem: Problem, verifier: Verifier) -> list[Message]:
    """The student's chat: the problem's, with the verifier's answer instruction behind the last user turn."""
    if not verifier.instruction or verifier.instruction in problem.prompt:
        return list(problem.messages)
    last = max(i for i, m in enumerate(problem.messages) if m["role"] == "user")
    return [
        {**m, "content": f"{m['content']}\n\n{verifier.instruction}"} if i == last else m
        for i, m in enumerate(problem.messages)
    ]


@dataclass
class RolloutCollector:
    """Runs rollout phases. Holds no state between them.

    Attributes:
        contrast: rejected contexts, for objectives that declare ``CONTRAST_LOGPROBS``.
        reference: the initial policy, for objectives that declare ``REFERENCE_LOGPROBS``.
        score_batch_size: completions per no-grad forward of the teacher.
        forward_context: precision context for forwards outside the training step.
        max_error_share: share of completions that the verifier may fail on before the run stops.
    """

    policy: Policy
    teacher: Teacher
    context: Context
    objective: Objective
    engine: Engine
    verifier: Verifier
    sampling: Sampling
    contrast: Context | None = None
    reference: Teacher | None = None
    score_batch_size: int = 64
    max_error_share: float = 0.05
    off_policy: bool = False
    forward_context: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)

    def collect(
        self, problems: Sequence[Problem], iteration: int, seed: int, on_progress: OnProgress = ignore_progress
    ) -> RolloutSet:
        """Sample, verify, score and credit ``sampling.completions`` completions for each problem.

        Raises:
            VerifierError: if the verifier fails on more than ``max_error_share`` of the completions.
        """
        seconds: dict[str, float] = {}
        with _timed(seconds, "generate"), self.forward_context():
            prompts, groups = self._completions(problems, seed, on_progress)
        with _timed(seconds, "verify"):
            rollouts = self.verify(problems, groups)
        batch = self._batch(prompts, rollouts)
        with _timed(seconds, "score"), self.forward_context():
            batch = self._with_signals(batch, rollouts)
        credit = self.objective.credit(batch, iteration)
        batch = replace(batch, token_advantages=credit.token_advantages)
        sums = {
            **rollout_sums([r for group in rollouts for r in group]),
            **_group_sums(batch, len(rollouts)),
            **_credit_sums(batch),
            **{f"credit/{name}": (value * len(batch), len(batch)) for name, value in credit.metrics.items()},
            **{f"perf/{name}_seconds": (value, 1.0) for name, value in seconds.items()},
            "perf/generated_tokens_per_second": (
                float(batch.completions.mask.sum()),
                max(seconds["generate"], 1e-9),
            ),
        }
        return RolloutSet(rollouts, batch, sums)

    def _completions(
        self, problems: Sequence[Problem], seed: int, on_progress: OnProgress
    ) -> tuple[list[list[int]], list[list]]:
        """What is learnt from: samples, or one demonstration per problem."""
        fields = self.objective.demonstrations
        if not fields:
            return self.sample(problems, self.sampling, seed, on_progress)
        prompts = [self.policy.encode(student_messages(problem, self.verifier)) for problem in problems]
        return prompts, demonstrate(self.policy, problems, prompts, fields, self.sampling)

    def sample(
        self, problems: Sequence[Problem], sampling: Sampling, seed: int, on_progress: OnProgress = ignore_progress
    ) -> tuple[list[list[int]], list[list]]:
        """Prompt ids and completions for each problem."""
        prompts = [self.policy.encode(student_messages(problem, self.verifier)) for problem in problems]
        return prompts, self.engine.generate(self.policy, prompts, sampling, seed, on_progress)

    def verify(self, problems: Sequence[Problem], groups: Sequence[Sequence]) -> list[list[Rollout]]:
        """Verdicts for completions, group by group."""
        flat = [(problem, completion) for problem, group in zip(problems, groups, strict=True) for completion in group]
        verdicts = self.verifier.verify([c.text for _, c in flat], [p for p, _ in flat])
        rollouts = iter([Rollout(p, c, v) for (p, c), v in zip(flat, verdicts, strict=True)])
        failed = [v for v in verdicts if v.status is Status.ERROR]
        if len(failed) > self.max_error_share * len(verdicts):
            raise VerifierError(
                f"The verifier failed on {len(failed)} of {len(verdicts)} completions (allowed: "
                f"{self.max_error_share:.0%}). First: {failed[0].detail!r}. Mend the verifier or its data, or raise "
                "--data.max_error_share."
            )
        return [[next(rollouts) for _ in group] for group in groups]

    def _batch(self, prompts: list[list[int]], groups: list[list[Rollout]]) -> RolloutBatch:
        pad = self.policy.pad_id
        rows = [(prompt, rollout) for prompt, group in zip(prompts, groups, strict=True) for rollout in group]
        completions = PaddedTokens.completions([r.completion.token_ids for _, r in rows], pad)
        logprobs = torch.zeros(completions.ids.shape)
        logprobs[completions.mask] = torch.tensor([x for _, r in rows for x in r.completion.logprobs])
        rewards, learnt = self.objective.truncation(
            torch.tensor([r.verdict.reward for _, r in rows]),
            torch.tensor([r.completion.truncated for _, r in rows]),
            completions.mask.sum(dim=1),
            self.sampling.max_tokens,
        )
        valid = learnt & torch.tensor([r.verdict.status is not Status.ERROR for _, r in rows])
        shape = (len(groups), -1)
        return RolloutBatch(
            prompts=PaddedTokens.prompts([prompt for prompt, _ in rows], pad),
            completions=completions,
            rollout_logprobs=logprobs,
            rewards=rewards,
            advantages=self.objective.advantage(rewards.view(shape), valid.view(shape)).flatten(),
            loss_mask=completions.mask & valid[:, None],
            off_policy=self.off_policy,
        )

    def _with_signals(self, batch: RolloutBatch, groups: list[list[Rollout]]) -> RolloutBatch:
        signals = self.objective.signals
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

    def evidence(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
        """log P_T(y | x, r) - log P_S(y | x) [B, T] of completions, each a group of its own, and their mask [B, T]."""
        groups = [[rollout] for rollout in rollouts]
        prompts = [self.policy.encode(student_messages(r.problem, self.verifier)) for r in rollouts]
        batch = self._batch(prompts, groups)
        with self.forward_context():
            teacher = self._teacher_logprobs(batch, *self._teacher_prompts(groups))
        return teacher - batch.rollout_logprobs, batch.completions.mask

    def _teacher_logprobs(self, batch: RolloutBatch, prompts: PaddedTokens, has_context: Tensor) -> Tensor:
        with self.teacher.scoring(self.policy) as model:
            scored = self._score(model, prompts, batch.completions)
        # Without a context the teacher has nothing to say: the evidence is 0, not that of an empty prompt.
        return torch.where(has_context[:, None], scored, batch.rollout_logprobs)

    def _teacher_prompts(self, groups: Sequence[Sequence[Rollout]]) -> tuple[PaddedTokens, Tensor]:
        """Prompts (x, r) of all completions, and bool [B]: whether the context had something to show."""
        texts = [self.context.privileged(group, index) for group in groups for index in range(len(group))]
        return self._prompts_with(self.context, texts, groups)

    def _prompts_with(
        self, context: Context, texts: Sequence[str | None], groups: Sequence[Sequence[Rollout]]
    ) -> tuple[PaddedTokens, Tensor]:
        encoded = []
        for text, rollout in zip(texts, (rollout for group in groups for rollout in group), strict=True):
            messages = student_messages(rollout.problem, self.verifier)
            if text is not None:
                messages = context.messages(replace(rollout.problem, messages=messages), text)
            encoded.append(self.policy.encode(messages))
        shown = torch.tensor([text is not None for text in texts])
        return PaddedTokens.prompts(encoded, self.policy.pad_id), shown

    def _contrast_logprobs(self, batch: RolloutBatch, groups: Sequence[Sequence[Rollout]]) -> tuple[Tensor, Tensor]:
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
        for rows in lengths.argsort(stable=True).split(self.score_batch_size):
            part = completions.rows(rows)
            logprobs = model(
                prompts.rows(rows).to(model.device), part.to(model.device), self.sampling.temperature
            ).logprobs
            scored[rows, : part.ids.shape[1]] = logprobs.float().cpu()
        model.train(was_training)
        return scored


def rollout_sums(rollouts: Sequence[Rollout]) -> Sums:
    """Sums over completions: reward, length, statuses, truncation and what the verifier reports; keys ``rollout/``."""
    count = float(len(rollouts))
    scored = [r for r in rollouts if r.verdict.status is not Status.ERROR]
    sums: dict[str, tuple[float, float]] = {
        "rollout/reward": (sum(r.verdict.reward for r in scored), float(len(scored))),
        "rollout/length": (float(sum(len(r.completion.token_ids) for r in rollouts)), count),
        "rollout/truncated": (float(sum(r.completion.truncated for r in rollouts)), count),
    }
    for status in Status:
        sums[f"rollout/status_{status}"] = (float(sum(r.verdict.status is status for r in rollouts)), count)
    for name in sorted({name for r in rollouts for name in r.verdict.metrics}):
        values = [r.verdict.metrics[name] for r in rollouts if name in r.verdict.metrics]
        sums[f"rollout/{name}"] = (float(sum(values)), float(len(values)))
    return sums


def _group_sums(batch: RolloutBatch, groups: int) -> Sums:
    rewards = batch.rewards.view(groups, -1)
    valid = batch.loss_mask.any(dim=1).view(groups, -1)
    silent = signal_free_groups(rewards, valid)
    sums = {"rollout/signal_free_groups": (float(silent.sum()), float(groups))}
    if batch.has_context is not None:
        sums["rollout/no_context"] = (float((~batch.has_context).sum()), float(len(batch)))
    if batch.contrast_mask is not None:
        sums["rollout/no_contrast"] = (float((~batch.contrast_mask.any(dim=1)).sum()), float(len(batch)))
    return sums


def _credit_sums(batch: RolloutBatch) -> Sums:
    """How far token credit departs from the group advantage, over tokens that carry signal."""
    sums: dict[str, tuple[float, float]] = {}
    tokens = float(batch.loss_mask.sum())
    if batch.teacher_logprobs is not None:
        delta = (batch.teacher_logprobs - batch.rollout_logprobs)[batch.loss_mask]
        sums["credit/evidence"] = (float(delta.sum()), tokens)
        sums["credit/evidence_abs"] = (float(delta.abs().sum()), tokens)
    if batch.token_advantages is not None:
        spread = (batch.token_advantages - batch.advantages[:, None])[batch.loss_mask]
        sums["credit/departure"] = (float(spread.abs().sum()), tokens)
    return sums


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
