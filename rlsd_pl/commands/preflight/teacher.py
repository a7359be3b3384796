"""What the teacher knows: completions under its prompt, and how its evidence parts right from wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from rlsd_pl.commands.preflight.figures import Share, accuracy, auroc, share
from rlsd_pl.commands.privileged.report import stands_in
from rlsd_pl.contexts import Context
from rlsd_pl.contexts.base import ProblemContext
from rlsd_pl.functional import masked_mean
from rlsd_pl.rollout.collector import RolloutCollector, RolloutSet
from rlsd_pl.rollout.sampler import Sampler, teacher_messages
from rlsd_pl.types import Problem, Rollout

SAMPLES = 4
"""Completions per problem under the teacher's prompt."""


@dataclass(frozen=True, kw_only=True)
class TeacherFindings:
    """The teacher under its context.

    Attributes:
        hinted: accuracy of the teacher's weights under its prompt, on problems that have a context.
        bare: accuracy of the policy on the same problems.
        right, wrong: mean Delta in nats per token of each right and of each wrong completion that has a context.
        shown: share of completions that have one.
        prompts: lengths of the teacher's prompts, in tokens.
        looked_at: training problems whose privileged text was read; 0 where it comes from the rollout.
        blank: of these, how many have none.
        known: how many have one that stands in the problem already.
        answers_known: how many have an answer that stands there.
    """

    hinted: Share
    bare: Share
    right: list[float]
    wrong: list[float]
    shown: Share
    prompts: list[int]
    looked_at: int
    blank: int
    known: int
    answers_known: int

    @property
    def auroc(self) -> float | None:
        """The chance that a right completion has more evidence per token than a wrong one."""
        return auroc(self.right, self.wrong)


@dataclass(kw_only=True)
class HintedSampler(Sampler):
    """Samples from prompts that are given instead of the student's."""

    given: list[list[int]]

    def prompts(self, problems: Sequence[Problem]) -> list[list[int]]:
        return self.given


def teacher_findings(
    collector: RolloutCollector, rollouts: RolloutSet, problems: Sequence[Problem], seed: int
) -> TeacherFindings:
    """Sample under the teacher's prompt, and compare.

    Args:
        rollouts: the policy's own.
        problems: training problems to read the privileged text of.
        seed: of sampling.
    """
    prompts = hinted_prompts(collector, rollouts.groups)
    places = [(p, g) for p, g in prompts if g < SAMPLES]
    hinted = _sampled(collector, rollouts.groups, {place: prompts[place] for place in places}, seed)
    delta, mask = _evidence(collector, rollouts)
    scores = masked_mean(delta, mask, dim=1).tolist()
    shown = mask.any(dim=1).tolist()
    by_reward: dict[bool, list[float]] = {True: [], False: []}
    for rollout, score, has_context in zip(rollouts.rollouts, scores, shown, strict=True):
        if has_context:
            by_reward[rollout.verdict.reward == 1.0].append(score)
    with_context = sorted({p for p, _ in places})
    looked_at, blank, known, answers_known = read_texts(collector.scorer.context, problems)
    return TeacherFindings(
        hinted=accuracy(hinted),
        bare=accuracy([rollouts.groups[p] for p in with_context]),
        right=by_reward[True],
        wrong=by_reward[False],
        shown=share(shown),
        prompts=[len(ids) for ids in prompts.values()],
        looked_at=looked_at,
        blank=blank,
        known=known,
        answers_known=answers_known,
    )


def hinted_prompts(
    collector: RolloutCollector, groups: Sequence[Sequence[Rollout]]
) -> dict[tuple[int, int], list[int]]:
    """The teacher's prompt by (problem, completion), for those that have a context within the limit."""
    scorer, found = collector.scorer, {}
    for p, group in enumerate(groups):
        for g, rollout in enumerate(group):
            text = scorer.context.privileged(group, g)
            if text is None:
                continue
            messages = teacher_messages(scorer.context.choice(group, g), rollout.problem, scorer.verifier, text)
            ids = scorer.policy.encode(messages)
            if scorer.max_prompt_tokens is None or len(ids) <= scorer.max_prompt_tokens:
                found[p, g] = ids
    return found


def read_texts(context: Context, problems: Sequence[Problem]) -> tuple[int, int, int, int]:
    """How many problems were looked at, how many have no privileged text, one that stands in the problem already, and
    an answer that stands there. All 0 for a context whose text comes from the rollout."""
    if not isinstance(context, ProblemContext):
        return 0, 0, 0, 0
    missing = [context.check(problem) is not None for problem in problems]
    known = [
        stands_in(problem, context.text(problem) or "")
        for problem, lacks in zip(problems, missing, strict=True)
        if not lacks
    ]
    return len(problems), sum(missing), sum(known), sum(stands_in(problem) for problem in problems)


def _sampled(
    collector: RolloutCollector,
    groups: Sequence[Sequence[Rollout]],
    prompts: dict[tuple[int, int], list[int]],
    seed: int,
) -> list[list[Rollout]]:
    """Completions of the teacher's weights under its prompts, problem by problem."""
    if not prompts:
        return []
    own = collector.sampler
    settings = {f.name: getattr(own, f.name) for f in fields(own) if f.name != "policy"}
    problems = [groups[p][g].problem for p, g in prompts]
    with collector.scorer.teacher.scoring(own.policy) as model:
        sampler = HintedSampler(policy=model, given=list(prompts.values()), **settings)
        sampled = sampler.sample(problems, replace(collector.sampling, completions=1), seed, "teacher")
    by_problem: dict[int, list[Rollout]] = {}
    for (p, _), (rollout,) in zip(prompts, sampled.groups, strict=True):
        by_problem.setdefault(p, []).append(rollout)
    return list(by_problem.values())


def _evidence(collector: RolloutCollector, rollouts: RolloutSet) -> tuple[Tensor, Tensor]:
    """Delta [B, T] and the tokens of completions that have a context, bool [B, T]."""
    batch = rollouts.batch
    if batch.teacher is None:
        return collector.scorer.evidence(batch, rollouts.groups)
    mask = batch.completions.mask & batch.teacher.has_context[:, None]
    return batch.teacher.logprobs - batch.rollout_logprobs, mask
