"""What a rollout phase logs, as weighted sums that add up over processes; docs/metrics.md explains each key."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd_pl.collectives import Sums, process_count
from rlsd_pl.contexts import Context
from rlsd_pl.functional import masked_sum, zero_variance_groups
from rlsd_pl.objectives import Needs
from rlsd_pl.rollout.sampler import SampledGroups
from rlsd_pl.types import Credit, Rollout, RolloutBatch, Signal, Status

LEAST_ADVANTAGE = 1e-6
"""A smaller one is what rounding leaves of a group whose rewards are all equal."""


def rollout_sums(rollouts: Sequence[Rollout]) -> Sums:
    """Reward, length, statuses, truncation and the verifier's own metrics; keys ``rollout/``."""
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


def group_sums(batch: RolloutBatch, sampled: SampledGroups) -> Sums:
    """Zero-variance groups, dynamic sampling, and completions without a context; keys ``rollout/``."""
    groups, rows = len(sampled.groups), float(len(batch))
    sums = {"rollout/zero_variance_groups": (float(without_signal(batch, groups).sum()), float(groups))}
    if sampled.resampling_rounds:
        replaced = float(len(sampled.replaced))
        sums["rollout/resampling_rounds"] = (float(sampled.resampling_rounds), 1.0)
        sums["rollout/replaced"] = (replaced, replaced + rows)
    contexts = batch.teacher or batch.distillation
    if contexts is not None:
        sums["rollout/no_context"] = (float((~contexts.has_context).sum()), rows)
    return sums


def without_signal(batch: RolloutBatch, groups: int) -> Tensor:
    """bool [P]: the groups whose rewards are all equal, among completions that are learnt from."""
    shape = (groups, -1)
    return zero_variance_groups(batch.rewards.view(shape), batch.loss_mask.any(dim=1).view(shape))


def contrast_sums(batch: RolloutBatch, sampled: SampledGroups, contrast: Context | None) -> Sums:
    """Completions without a rejected context, and rejected ones that had nothing to show; keys ``rollout/``."""
    if batch.contrast is None or contrast is None:
        return {}
    rows = float(len(batch))
    return {
        "rollout/no_contrast": (float((~batch.contrast.exists.any(dim=1)).sum()), rows),
        "rollout/contrast_passed_over": (float(sum(contrast.passed_over(group) for group in sampled.groups)), rows),
    }


def credit_sums(batch: RolloutBatch, credit: Credit) -> Sums:
    """How far token credit departs from the group advantage, over the tokens that are learnt from; keys ``credit/``."""
    rows, tokens = float(len(batch)), float(batch.loss_mask.sum())
    sums = {f"credit/{name}": (value * rows, rows) for name, value in credit.metrics.items()}
    if batch.teacher is not None:
        delta = batch.teacher.logprobs - batch.rollout_logprobs
        sums["credit/evidence"] = (float(masked_sum(delta, batch.loss_mask)), tokens)
        sums["credit/evidence_abs"] = (float(masked_sum(delta.abs(), batch.loss_mask)), tokens)
    if batch.token_advantages is not None:
        departure = (batch.token_advantages - batch.advantages[:, None]).abs()
        sums["credit/departure"] = (float(masked_sum(departure, batch.loss_mask)), tokens)
    return sums


def learnt_groups(batch: RolloutBatch, groups: int) -> Tensor:
    """bool [P]: the groups of which something is learnt, by a token advantage or by a weight of the distribution term.

    Args:
        batch: with credit; rows are groups one after the other.
        groups: P.
    """
    learnt = torch.zeros(len(batch), dtype=torch.bool)
    if batch.token_advantages is not None:
        learnt |= ((batch.token_advantages.abs() > LEAST_ADVANTAGE) & batch.loss_mask).any(dim=1)
    if batch.distribution_weights is not None:
        learnt |= ((batch.distribution_weights != 0) & batch.loss_mask).any(dim=1)
    return learnt.view(groups, -1).any(dim=1)


def signal_sums(batch: RolloutBatch, groups: int) -> Sums:
    """Groups of which nothing is learnt; keys ``credit/``."""
    return {"credit/no_signal": (float((~learnt_groups(batch, groups)).sum()), float(groups))}


def time_sums(sampled: SampledGroups, score_seconds: float) -> Sums:
    """Seconds and throughput of the phase; keys ``perf/``."""
    tokens = sum(len(rollout.completion.token_ids) for rollout in [*sampled.rollouts, *sampled.replaced])
    return {
        "perf/generate_seconds": (sampled.generate_seconds, 1.0),
        "perf/verify_seconds": (sampled.verify_seconds, 1.0),
        "perf/score_seconds": (score_seconds, 1.0),
        "perf/generated_tokens_per_second": (float(tokens), max(sampled.generate_seconds, 1e-9)),
    }


def cost_sums(sampled: SampledGroups, needs: Needs, contrast: Context | None) -> Sums:
    """Tokens sampled and completions scored, totals over all processes; keys ``perf/``."""
    sampled_tokens = sum(len(rollout.completion.token_ids) for rollout in [*sampled.rollouts, *sampled.replaced])
    once = needs.signals & (Signal.TEACHER | Signal.DISTRIBUTION | Signal.REFERENCE | Signal.ENTROPY)
    contrasts = contrast.count if contrast is not None and Signal.CONTRAST in needs.signals else 0
    forwards = 1 + len(once) + contrasts  # the first is the update's own
    weight = 1 / process_count()  # the weights of all processes add up to 1, and their sums to the total
    return {
        "perf/generated_tokens": (0.0 if needs.demonstrations else float(sampled_tokens), weight),
        "perf/scored_completions": (float(len(sampled.rollouts) * forwards), weight),
    }
