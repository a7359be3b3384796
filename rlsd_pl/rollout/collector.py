"""One rollout phase: problems in, verified and credited completions out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd_pl.collectives import Sums, global_sum
from rlsd_pl.errors import UserCodeError
from rlsd_pl.functional import zero_variance_groups
from rlsd_pl.objectives import Objective
from rlsd_pl.rollout.credit import credit_map_sums
from rlsd_pl.rollout.flops import iteration_flops
from rlsd_pl.rollout.metrics import (
    contrast_sums,
    cost_sums,
    credit_sums,
    group_sums,
    rollout_sums,
    signal_sums,
    time_sums,
)
from rlsd_pl.rollout.sampler import SampledGroups, Sampler, derive_seed
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.rollout.spans import span_mask, verdict_span_masks
from rlsd_pl.rollout.verdict_checks import check_span_names
from rlsd_pl.types import Credit, PaddedTokens, Problem, Rollout, RolloutBatch, Sampling, Status

Replacements = Callable[[int, int], list[Problem]]
"""Given the round of resampling (from 1) and how many, returns problems in place of those of zero-variance groups."""


@dataclass(frozen=True)
class RolloutSet:
    """What one process collected in one rollout phase.

    Attributes:
        groups: P lists of G rollouts.
        batch: the same, flattened to B = P * G rows (row = p * G + g), on the CPU, with credit.
        sums: weighted sums of everything to log, for :func:`rlsd_pl.collectives.global_means`.
        credit: what the objective returned; the batch holds what is learnt from.
    """

    groups: list[list[Rollout]]
    batch: RolloutBatch
    sums: Sums
    credit: Credit

    @property
    def rollouts(self) -> list[Rollout]:
        """The B rollouts in row order."""
        return [rollout for group in self.groups for rollout in group]


@dataclass(kw_only=True)
class RolloutCollector:
    """Runs rollout phases. Holds no state between them.

    Attributes:
        sampler: makes completions and has them verified.
        scorer: scores them under teachers and contexts.
        max_resampling_rounds: most rounds in which zero-variance groups are replaced by groups of new problems.
        off_policy: several updates reuse one rollout.
    """

    sampler: Sampler
    scorer: Scorer
    objective: Objective
    sampling: Sampling
    max_resampling_rounds: int = 0
    off_policy: bool = False

    def collect(
        self, problems: Sequence[Problem], iteration: int, seed: int, replacements: Replacements | None = None
    ) -> RolloutSet:
        """Sample, verify, score and credit ``sampling.completions`` completions for each problem.

        Args:
            iteration: 0-based, for schedules.
            seed: of sampling.
            replacements: where new problems come from; needed for ``max_resampling_rounds``.

        Raises:
            VerifierError: if the verifier fails on more than ``max_error_share`` of the completions.
        """
        sampled = self._sampled(problems, seed)
        self._resample(sampled, seed, replacements)
        start = time.perf_counter()
        batch = self._with_signals(self._batch(sampled.prompts, sampled.groups), sampled)
        score_seconds = time.perf_counter() - start
        credit = self._credit(batch, iteration)
        credited = batch.credited(credit)
        sums = {
            # All that the policy said describes it: replaced groups count too.
            **rollout_sums([*sampled.rollouts, *sampled.replaced]),
            **group_sums(batch, sampled),
            **contrast_sums(batch, sampled, self.scorer.contrast),
            **credit_sums(credited, credit),
            **credit_map_sums(credited, sampled, self.sampler.policy, self.sampler.verifier),
            **signal_sums(credited, len(sampled.groups)),
            **time_sums(sampled, score_seconds),
            **cost_sums(sampled, self.objective.needs, self.scorer.contrast),
            **self._flops(credited, len(sampled.replaced)),
            **self.sampler.engine.metrics(),
        }
        return RolloutSet(sampled.groups, credited, sums, credit)

    def evidence(self, rollouts: Sequence[Rollout]) -> tuple[Tensor, Tensor]:
        """:meth:`Scorer.evidence` of completions that are groups of their own; or none, where others have some."""
        if not rollouts:
            self.scorer.no_evidence()
            return torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.bool)
        groups = [[rollout] for rollout in rollouts]
        batch = self._batch(self.sampler.prompts([rollout.problem for rollout in rollouts]), groups)
        return self.scorer.evidence(batch, groups)

    def _sampled(self, problems: Sequence[Problem], seed: int, phase: str = "rollouts") -> SampledGroups:
        """What is learnt from: samples, or one demonstration per problem."""
        if demonstrations := self.objective.needs.demonstrations:
            return self.sampler.demonstrate(problems, demonstrations, self.sampling)
        return self.sampler.sample(problems, self.sampling, seed, phase)

    def _resample(self, sampled: SampledGroups, seed: int, replacements: Replacements | None) -> None:
        """Dynamic sampling (DAPO, 2503.14476): new problems for groups whose rewards are all equal, up to the cap."""
        for attempt in range(1, self.max_resampling_rounds + 1):
            rewards, learnt = self._rewards(sampled.groups)
            places = zero_variance_groups(rewards, learnt).nonzero().flatten().tolist()
            if global_sum(float(len(places)), self.sampler.policy.device) == 0:
                return
            # Sharded, generating is collective: a process that lacks nothing generates too, and drops it.
            count = max(len(places), int(self.sampler.policy.sharded))
            if replacements is None:
                raise ValueError("max_resampling_rounds is above 0 and replacements is None; pass both or neither.")
            if count:
                problems = replacements(attempt, count)
                sampled.replace(places, self._sampled(problems, derive_seed(seed, "resample", attempt), "resampling"))

    def _with_signals(self, batch: RolloutBatch, sampled: SampledGroups) -> RolloutBatch:
        needs = self.objective.needs
        batch = self.scorer.with_signals(batch, sampled.groups, needs.signals)
        policy, rollouts = self.sampler.policy, sampled.rollouts
        if needs.span is not None:
            batch = replace(batch, span=span_mask(policy, rollouts, needs.span))
        if needs.verdict_spans:
            check_span_names(self.sampler.verifier, self.objective)
            batch = replace(batch, verdict_spans=verdict_span_masks(policy, rollouts, needs.verdict_spans))
        return batch

    def _credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        """The objective's credit, its shapes checked."""
        credit = self.objective.credit(batch, iteration)
        if not isinstance(credit, Credit):
            raise UserCodeError(
                f"{type(self.objective).__name__}.credit returned {type(credit).__name__}; expected a Credit, for "
                "example Credit(token_advantages=...)."
            )
        shape = tuple(batch.rollout_logprobs.shape)
        for name, value, expected in (
            ("token_advantages", credit.token_advantages, shape),
            ("loss_mask", credit.loss_mask, shape),
            ("distribution_weights", credit.distribution_weights, _weights_shape(credit, shape)),
            *((f"traces[{name!r}]", trace, shape) for name, trace in credit.traces.items()),
        ):
            if value is not None and tuple(value.shape) != expected:
                raise UserCodeError(
                    f"{type(self.objective).__name__}.credit returned {name} of shape {tuple(value.shape)}; expected "
                    f"{expected}, that is {'[B, T]' if len(expected) == 2 else '[B]'}."
                )
        return credit

    def _flops(self, batch: RolloutBatch, replaced: int) -> Sums:
        flops = iteration_flops(self.sampler.policy, batch, replaced, self.scorer.passes)
        return {} if flops is None else {"perf/model_flops": (flops, 1.0)}

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


def _weights_shape(credit: Credit, shape: tuple[int, ...]) -> tuple[int, ...]:
    """[B], unless weights are given per token."""
    weights = credit.distribution_weights
    return shape if weights is not None and weights.dim() == 2 else shape[:1]
