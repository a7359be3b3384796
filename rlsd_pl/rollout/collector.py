"""One rollout phase: problems in, verified and credited completions out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd_pl.distributed import Sums, global_sum
from rlsd_pl.functional import zero_variance_groups
from rlsd_pl.objectives import Objective
from rlsd_pl.rollout.sampler import Sampled, Sampler, Watch, derive_seed, watch_nothing
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.rollout.spans import span_mask
from rlsd_pl.types import PaddedTokens, Problem, Rollout, RolloutBatch, Sampling, Status

Refill = Callable[[int, int], list[Problem]]
"""Given the round (from 1) and how many, returns new problems in place of those whose group had no signal."""


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


@dataclass
class RolloutCollector:
    """Runs rollout phases. Holds no state between them.

    Attributes:
        sampler: makes completions and has them verified.
        scorer: scores them under teachers and contexts.
        max_refills: most rounds in which groups without signal are replaced by groups of new problems.
        off_policy: several updates reuse one rollout.
    """

    sampler: Sampler
    scorer: Scorer
    objective: Objective
    sampling: Sampling
    max_refills: int = 0
    off_policy: bool = False

    def collect(
        self,
        problems: Sequence[Problem],
        iteration: int,
        seed: int,
        watch: Watch = watch_nothing,
        refill: Refill | None = None,
    ) -> RolloutSet:
        """Sample, verify, score and credit ``sampling.completions`` completions for each problem.

        Args:
            iteration: 0-based, for schedules.
            seed: of sampling.
            watch: who is told of progress.
            refill: where new problems come from; needed for ``max_refills``.

        Raises:
            VerifierError: if the verifier fails on more than ``max_error_share`` of the completions.
        """
        sampled = self._sampled(problems, seed, watch)
        self._replace_silent(sampled, seed, watch, refill)
        batch = self._batch(sampled.prompts, sampled.groups)
        start = time.perf_counter()
        batch = self.scorer.with_signals(batch, sampled.groups, self.objective.signals)
        if self.objective.span is not None:
            batch = replace(batch, span_mask=span_mask(self.sampler.policy, sampled.rollouts, self.objective.span))
        score_seconds = time.perf_counter() - start
        credit = self.objective.credit(batch, iteration)
        batch = replace(
            batch, token_advantages=credit.token_advantages, distribution_weights=credit.distribution_weights
        )
        # What the policy is like shows in all that it said, the groups that were replaced included.
        everything = [*sampled.rollouts, *sampled.replaced]
        sums = {
            **rollout_sums(everything),
            **_group_sums(batch, sampled),
            **_credit_sums(batch),
            **{f"credit/{name}": (value * len(batch), len(batch)) for name, value in credit.metrics.items()},
            "perf/generate_seconds": (sampled.generate_seconds, 1.0),
            "perf/verify_seconds": (sampled.verify_seconds, 1.0),
            "perf/score_seconds": (score_seconds, 1.0),
            "perf/generated_tokens_per_second": (
                float(sum(len(rollout.completion.token_ids) for rollout in everything)),
                max(sampled.generate_seconds, 1e-9),
            ),
        }
        return RolloutSet(sampled.groups, batch, sums)

    def _sampled(self, problems: Sequence[Problem], seed: int, watch: Watch, what: str = "rollouts") -> Sampled:
        """What is learnt from: samples, or one demonstration per problem."""
        if self.objective.demonstrations:
            return self.sampler.demonstrate(problems, self.objective.demonstrations, self.sampling)
        on_progress = watch(what, len(problems) * self.sampling.completions)
        return self.sampler.sample(problems, self.sampling, seed, on_progress)

    def _replace_silent(self, sampled: Sampled, seed: int, watch: Watch, refill: Refill | None) -> None:
        """Dynamic sampling (DAPO, 2503.14476): new problems for groups whose rewards are all equal, up to the cap."""
        for attempt in range(1, self.max_refills + 1):
            rewards, learnt = self._rewards(sampled.groups)
            silent = zero_variance_groups(rewards, learnt).nonzero().flatten().tolist()
            if global_sum(float(len(silent)), self.sampler.policy.device) == 0:
                return
            # Sharded, generating is collective: a process that lacks nothing generates too, and drops it.
            count = max(len(silent), int(self.sampler.policy.sharded))
            if refill is None:
                raise ValueError("max_refills is above 0, but nobody says where new problems come from.")
            if count:
                fresh = self._sampled(refill(attempt, count), derive_seed(seed, "refill", attempt), watch, "refill")
                sampled.refill(silent, fresh)

    def evidence(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
        """See :meth:`Scorer.evidence`; each completion is a group of its own."""
        groups = [[rollout] for rollout in rollouts]
        batch = self._batch(self.sampler.prompts([rollout.problem for rollout in rollouts]), groups)
        return self.scorer.evidence(batch, groups)

    def _rewards(self, groups: Sequence[Sequence[Rollout]]) -> tuple[Tensor, Tensor]:
        """Rewards [P, G] under the objective's truncation policy, and bool [P, G]: what is learnt from."""
        rollouts = [rollout for group in groups for rollout in group]
        rewards, learnt = self.objective.truncation(
            torch.tensor([r.verdict.reward for r in rollouts]),
            torch.tensor([r.completion.truncated for r in rollouts]),
            torch.tensor([len(r.completion.token_ids) for r in rollouts]),
            self.sampling.max_tokens,
        )
        judged = torch.tensor([r.verdict.status is not Status.ERROR for r in rollouts])
        shape = (len(groups), -1)
        return rewards.view(shape), (learnt & judged).view(shape)

    def _batch(self, prompts: list[list[int]], groups: list[list[Rollout]]) -> RolloutBatch:
        pad = self.sampler.policy.pad_id
        rows = [(prompt, rollout) for prompt, group in zip(prompts, groups, strict=True) for rollout in group]
        completions = PaddedTokens.completions([r.completion.token_ids for _, r in rows], pad)
        logprobs = torch.zeros(completions.ids.shape)
        logprobs[completions.mask] = torch.tensor([x for _, r in rows for x in r.completion.logprobs])
        rewards, learnt = self._rewards(groups)
        return RolloutBatch(
            prompts=PaddedTokens.prompts([prompt for prompt, _ in rows], pad),
            completions=completions,
            rollout_logprobs=logprobs,
            rewards=rewards.flatten(),
            advantages=self.objective.advantage(rewards, learnt).flatten(),
            loss_mask=completions.mask & learnt.flatten()[:, None],
            off_policy=self.off_policy,
        )


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


def _group_sums(batch: RolloutBatch, sampled: Sampled) -> Sums:
    groups = len(sampled.groups)
    rewards = batch.rewards.view(groups, -1)
    valid = batch.loss_mask.any(dim=1).view(groups, -1)
    silent = zero_variance_groups(rewards, valid)
    sums = {"rollout/signal_free_groups": (float(silent.sum()), float(groups))}
    if sampled.refills:
        sums["rollout/refills"] = (float(sampled.refills), 1.0)
        sums["rollout/replaced"] = (float(len(sampled.replaced)), float(len(sampled.replaced) + len(batch)))
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
