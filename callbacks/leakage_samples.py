"""What leakage detection knows of this package's own rollouts, beside their text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import torch

from rlsd_pl.collectives import Sums, global_means, process_count
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.leakage import Sample, answer_probes, probe_sums
from rlsd_pl.module import PolicyModule
from rlsd_pl.objectives.parts import K1
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.scorer import check_privileged
from rlsd_pl.rollout.spans import token_ends, touches
from rlsd_pl.types import Completion, PaddedTokens, Rollout, RolloutBatch, Status
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.composite import parts_of

Groups = Sequence[Sequence[Rollout]]

TAIL = 32
"""Last tokens in which an answer is looked for."""


def samples_of_rollouts(module: PolicyModule, groups: Groups, drawn: bool) -> list[Sample]:
    """Each completion with what its problem, its verdict and the log-probs of its sampling say.

    Args:
        drawn: False for greedy completions, whose log-probs say nothing of an expectation.
    """
    return [_sample(module, rollout, drawn) for rollout in chain.from_iterable(groups)]


def _sample(module: PolicyModule, rollout: Rollout, drawn: bool) -> Sample:
    completion, verdict = rollout.completion, rollout.verdict
    judged = verdict.status is not Status.ERROR
    hollow = verdict.metrics.get("hollow")
    return Sample(
        prompt=rollout.problem.prompt,
        completion=completion.text,
        reference=reference_of(module, rollout),
        answer=verdict.answer,
        correct=verdict.reward == 1.0 if judged else None,
        invalid=verdict.status is Status.INVALID if judged else None,
        hollow=None if hollow is None else hollow > 0.5,
        tokens=len(completion.token_ids),
        surprisal=-sum(completion.logprobs) if drawn else None,
        confidence=answer_confidence(module.policy, completion, verdict.answer) if drawn and judged else None,
    )


def reference_of(module: PolicyModule, rollout: Rollout) -> str | None:
    """What the run's context shows the teacher of this problem; ``None`` where that is nothing, or made of siblings."""
    if module.context.check(rollout.problem) is not None:
        return None
    text = module.context.privileged([rollout], 0)
    check_privileged(module.context, rollout.problem, text)
    return text


def answer_confidence(policy: Policy, completion: Completion, answer: str | None) -> float | None:
    """Probability of the tokens of the answer where it stands last, given all before; ``None`` if it is not found."""
    if not answer or not answer.strip():
        return None
    tail = completion.token_ids[-TAIL:]
    text = policy.decode(tail)
    at = text.rfind(answer.strip())
    if at < 0:
        return None
    ends = token_ends(policy, tail, text, lambda token: policy.decode([token]))
    marked = touches(ends, [(at, at + len(answer.strip()))])
    return math.exp(sum(x for x, own in zip(completion.logprobs[-TAIL:], marked, strict=True) if own))


def answer_lead(verifier: Verifier) -> str | None:
    """What introduces an answer, by the first part of the verifier that knows."""
    return next((part.answer_lead for part in parts_of(verifier) if part.answer_lead is not None), None)


@torch.no_grad()
def answer_probe_sums(module: PolicyModule, data: RolloutDataModule, groups: Groups, lead: str, problems: int) -> Sums:
    """:func:`rlsd_pl.leakage.probe_sums` of one completion of each of some problems; three forwards each."""
    rollouts = [group[0] for group in groups[: max(1, problems // process_count())]]
    samples = samples_of_rollouts(module, [[rollout] for rollout in rollouts], drawn=False)
    probes = answer_probes(samples, lead, lambda text: _encode(module, text), data.sampling.max_tokens)
    prompts = data.collector.sampler.prompts([rollout.problem for rollout in rollouts])
    pad = module.policy.pad_id
    logprobs = data.collector.scorer.student_logprobs(
        PaddedTokens.prompts([prompts[probe.row] for probe in probes] or [[pad]], pad),
        PaddedTokens.completions([probe.ids for probe in probes] or [[pad]], pad),
    )
    # A process without held-out problems has scored a token of padding, for the others' sake.
    return probe_sums(probes, logprobs[: len(probes)])


@torch.no_grad()
def at_once_sums(module: PolicyModule, data: RolloutDataModule, lead: str) -> Sums:
    """Probability that the policy introduces an answer right behind the prompts of the last rollout: one forward of
    prompts alone."""
    ids = _encode(module, lead)
    if not ids or data.latest is None:
        return {}
    prompts = data.collector.sampler.prompts([group[0].problem for group in data.latest.groups])
    pad = module.policy.pad_id
    logprobs = data.collector.scorer.student_logprobs(
        PaddedTokens.prompts(prompts, pad), PaddedTokens.completions([ids] * len(prompts), pad)
    )
    return {"rollout_at_once": (float(logprobs.double().sum(dim=1).exp().sum()), float(len(prompts)))}


def _encode(module: PolicyModule, text: str) -> list[int]:
    return list(module.tokenizer.encode(text, add_special_tokens=False)) if text else []


def gap_sums(batch: RolloutBatch | None) -> Sums:
    """KL(S given x, T given x, r) per token on the rollout's own tokens, nats, by the estimate k1; without a forward.

    Nothing where the objective has not asked for the teacher's log-probs.
    """
    if batch is None or batch.teacher is None:
        return {}
    shown = batch.loss_mask & batch.teacher.has_context[:, None]
    kl = K1()(batch.rollout_logprobs, batch.teacher.logprobs)
    return {"gap": (float(kl[shown].sum()), float(shown.sum()))}


@torch.no_grad()
def teacher_kl_sums(module: PolicyModule, data: RolloutDataModule, groups: Groups) -> Sums:
    """Sum of log P_S - log P_T over the tokens of one sample per problem, with the run's own teacher and context.

    Nothing without samples (greedy completions say nothing of an expectation) or without privileged text anywhere. A
    problem without it, which validation does not need, counts for nothing, and so does a held-out completion whose
    context would be made of siblings.
    """
    rollouts = [group[0] for group in groups]
    shown = sum(module.context.check(rollout.problem) is None for rollout in rollouts)
    # Under FSDP a forward is collective: if any process has privileged text, all score all of their completions, and
    # one without a held-out problem joins in.
    anywhere = global_means({"shown": (float(shown), float(len(rollouts)))}).get("shown", 0.0)
    if not anywhere:
        return {}
    delta, mask = data.collector.evidence(rollouts)
    return {"teacher_kl": (-float(delta[mask].sum()), float(mask.sum()))}
