"""What to change, in the order in which it is worth trying."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

from rlsd_pl.callbacks.signal_watch import LIKELY, causes
from rlsd_pl.commands.preflight.measure import Findings
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.engines import demonstration
from rlsd_pl.rollout.metrics import rollout_sums
from rlsd_pl.types import Status

FEW_RIGHT = 0.1
"""pass@1 below which most groups have no right completion."""

MANY = 0.2
"""Share of invalid or of truncated completions that is worth a change."""

MOSTLY_RIGHT = 0.9

SLOW_EVALUATION = 0.3
"""Share of a run's time that evaluations may take."""


class Advice(NamedTuple):
    """One change.

    Attributes:
        what: to change. why: by what was seen. how: flags, or where to read.
    """

    what: str
    why: str
    how: str


def verdict(findings: Findings, data: RolloutDataModule) -> str:
    """Whether training can learn, in a sentence or two."""
    signal, seen = findings.signal, len(findings.groups)
    if findings.demonstrations:
        return "Training can start: the objective learns from demonstrations, whatever the rewards are."
    if not findings.learns:
        metrics = {name: total / weight for name, (total, weight) in rollout_sums(findings.rollouts).items() if weight}
        likely = "; ".join(causes(metrics, data.verifier, findings.max_tokens)[:LIKELY])
        return (
            f"Training cannot learn: none of {seen} groups has a signal; by this sample at most "
            f"{signal.interval.high:.0%} of groups have one (95 %). Completions: {likely}."
        )
    expected = signal.value * data.prompts_per_rollout
    slow = " That is few: training will be slow." if expected < 1 or signal.value < FEW_RIGHT else ""
    return (
        f"Training can start: {signal} of groups have a signal, about {expected:.1f} of "
        f"{data.prompts_per_rollout} in an iteration.{slow}"
    )


def advice(findings: Findings, data: RolloutDataModule) -> list[Advice]:
    """The changes that what was seen asks for, the first one first; empty where nothing does."""
    rewards: list[Callable[[Findings, RolloutDataModule], Advice | None]] = [
        *(_rule, _format, _easier_rows, _harder_rows, _few_shot, _temperature, _sft, _more_samples),
    ]
    rest = [_shorter_context, _teacher, _evaluation]
    chosen = rest if findings.demonstrations else [*rewards, *rest]
    return [found for each in chosen if (found := each(findings, data)) is not None]


def _rule(f: Findings, data: RolloutDataModule) -> Advice | None:
    if len(f.rules) < 2:
        return None
    own, *others = f.rules
    best = max(others, key=lambda rule: (rule.accuracy.value, rule.extracted.value))
    if best.accuracy.value <= own.accuracy.value or f.status(Status.INVALID).value < MANY:
        return None
    why = (
        f"{own.name} finds an answer in {own.extracted.value:.0%} of completions, {best.name} in "
        f"{best.extracted.value:.0%}; {best.accuracy.value:.0%} would be right instead of {own.accuracy.value:.0%}"
    )
    return Advice("the extraction rule", why, f"--verifier.rule {best.path} (docs/verifiers.md: what each can lose)")


def _format(f: Findings, data: RolloutDataModule) -> Advice | None:
    invalid = f.status(Status.INVALID)
    if not MANY <= invalid.value < 1:
        return None
    why = f"{invalid.value:.0%} of completions have no usable answer and the others do, so the format can be learnt"
    return Advice("reward the format", why, "a WeightedVerifier with a part for the format (docs/preflight.md)")


def _easier_rows(f: Findings, data: RolloutDataModule) -> Advice | None:
    if f.pass_at_1.value >= FEW_RIGHT or f.pass_at_group.value >= 0.5:
        return None
    why = f"pass@1 is {f.pass_at_1.value:.0%}, pass@{data.sampling.completions} {f.pass_at_group.value:.0%}"
    return Advice("easier rows", why, "--task.where.COLUMN VALUE, or another --task.path; or a larger --model")


def _harder_rows(f: Findings, data: RolloutDataModule) -> Advice | None:
    if f.pass_at_1.value <= MOSTLY_RIGHT:
        return None
    return Advice(
        "harder rows", f"pass@1 is {f.pass_at_1.value:.0%}: little is left to learn", "--task.where.COLUMN VALUE"
    )


def _few_shot(f: Findings, data: RolloutDataModule) -> Advice | None:
    invalid = f.status(Status.INVALID).value
    if invalid < MANY and f.pass_at_1.value >= FEW_RIGHT:
        return None
    why = f"{invalid:.0%} invalid and {f.pass_at_1.value:.0%} right: worked examples show the form and the way"
    takes = "few_shot" in inspect.signature(type(data.task)).parameters
    return Advice("few-shot prompts", why, "--task.few_shot 2" if takes else "examples in --task.prompt_template")


def _temperature(f: Findings, data: RolloutDataModule) -> Advice | None:
    if f.pass_at_1.value >= MANY or f.greedy.value <= f.pass_at_1.value or f.temperature < 0.9:
        return None
    why = f"{f.pass_at_1.value:.0%} right at temperature {f.temperature:g}, {f.greedy.value:.0%} where it is greedy"
    return Advice("a lower temperature", why, "--data.temperature 0.7")


def _sft(f: Findings, data: RolloutDataModule) -> Advice | None:
    if f.pass_at_1.value >= FEW_RIGHT:
        return None
    fields = ("demonstration", "solution")
    solved = sum(demonstration(rollout.problem, fields) is not None for rollout in f.rollouts) == len(f.rollouts)
    train = "--objective sft --run_dir runs/warm, then the run itself with --model runs/warm/hf"
    how = train if solved else f"solutions by scripts/make_privileged.py, then {train}"
    return Advice("SFT first", f"pass@1 is {f.pass_at_1.value:.0%}: RL strengthens what is there already", how)


def _more_samples(f: Findings, data: RolloutDataModule) -> Advice | None:
    right, group = f.pass_at_1.value, data.sampling.completions
    if not 0 < right < 0.5 or f.signal.value >= 0.5:
        return None
    # A group of G has a right completion in half of the cases from 1 - (1 - p)^G = 1/2 on.
    wanted = math.ceil(math.log(0.5) / math.log1p(-right))
    how = f"--data.group_size {wanted}" if wanted > group else "--data.max_resampling_rounds 2"
    why = f"{f.signal.value:.0%} of groups of {group} have a signal, and {right:.0%} of completions are right"
    return Advice("more samples", why, how)


def _shorter_context(f: Findings, data: RolloutDataModule) -> Advice | None:
    lengths = [len(rollout.completion.token_ids) for rollout in f.rollouts]
    if f.truncated.value >= MANY:
        why = f"{f.truncated.value:.0%} of completions are cut at {f.max_tokens} tokens, and count as wrong"
        return Advice("the context", why, f"--data.max_completion_tokens {2 * f.max_tokens}, or ask for short answers")
    # Room for completions that grow by half.
    enough = math.ceil(1.5 * max(lengths) / 8) * 8
    if enough > f.max_tokens / 2:
        return None
    why = f"the longest of {len(lengths)} completions has {max(lengths)} tokens: a lower limit needs less memory"
    return Advice("a shorter context", why, f"--data.max_completion_tokens {enough}")


def _teacher(f: Findings, data: RolloutDataModule) -> Advice | None:
    teacher = f.teacher
    if teacher is None:
        return None
    if not teacher.hinted.total:
        return Advice("the context", "the teacher has nothing to show on these completions", "docs/contexts.md")
    if teacher.hinted.interval.high < teacher.bare.interval.high and teacher.hinted.value <= teacher.bare.value:
        why = f"with its text the teacher is right in {teacher.hinted.value:.0%}, without in {teacher.bare.value:.0%}"
        return Advice("the context", why, "--context, --context.field, --context.template (docs/contexts.md)")
    if teacher.known > teacher.looked_at / 2:
        why = f"{teacher.known} of {teacher.looked_at} privileged texts stand in the problem already"
        return Advice("the context", why, "--context.field, or scripts/make_privileged.py")
    return None


def _evaluation(f: Findings, data: RolloutDataModule) -> Advice | None:
    if f.time.evaluated_share <= SLOW_EVALUATION:
        return None
    why = (
        f"evaluations take {f.time.evaluated_share:.0%} of the run: {f.time.evaluations} times {f.held_out} problems x "
        f"(1 greedy + {f.samples} sampled)"
    )
    how = "--data.val_problems, --data.val_samples, --trainer.check_val_every_n_epoch, --data.val_before_training false"
    return Advice("a cheaper evaluation", why, how)
