"""Sample a few groups as the run would, and keep what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightning.pytorch import Trainer

from rlsd_pl.commands.estimate import RunTime, evaluations
from rlsd_pl.commands.preflight.figures import Share, accuracy, clustered, share
from rlsd_pl.commands.preflight.plan import Memory, memory_plan, sizes_of
from rlsd_pl.commands.preflight.rules import RuleOutcome, rule_outcomes
from rlsd_pl.commands.preflight.teacher import TeacherFindings, teacher_findings
from rlsd_pl.commands.preflight.update import UpdateCost, peak_bytes, update_cost
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.module import PolicyModule
from rlsd_pl.rollout.collector import RolloutSet
from rlsd_pl.rollout.metrics import learnt_groups
from rlsd_pl.rollout.order import ProblemOrder
from rlsd_pl.rollout.sampler import SampledGroups, derive_seed
from rlsd_pl.types import Problem, Rollout, Sampling, Signal, Status

LOOKED_AT = 256
"""Training problems whose prompts and privileged texts are read."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What preflight has seen.

    Attributes:
        groups: the policy's own completions, P lists of G.
        greedy: accuracy of one greedy completion per problem.
        signal: share of groups of which the objective learns something.
        demonstrations: the objective learns from these instead of from samples.
        instruction: what the verifier asks for.
        rules: each extraction rule on the same completions; empty where the verifier has none.
        teacher: ``None`` for an objective without one.
        prompts: lengths of training prompts, in tokens.
        max_tokens: limit on a completion.
        temperature: of sampling.
        tokens_per_second: sampled.
        time: of the whole run, on ``processes`` processes.
        seconds: of one iteration by phase.
        held_out, samples: problems of an evaluation, sampled completions of each.
        peak: bytes in use at most, sampling and one micro-batch included.
        plan: memory by number of devices.
        device: that all this was measured on.
    """

    groups: list[list[Rollout]]
    greedy: Share
    signal: Share
    demonstrations: bool
    instruction: str
    rules: list[RuleOutcome]
    teacher: TeacherFindings | None
    prompts: list[int]
    max_tokens: int
    temperature: float
    tokens_per_second: float
    time: RunTime
    seconds: dict[str, float]
    processes: int
    held_out: int
    samples: int
    peak: int
    plan: list[Memory]
    device: str

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group]

    @property
    def pass_at_1(self) -> Share:
        return accuracy(self.groups)

    @property
    def pass_at_group(self) -> Share:
        """Share of problems with at least one right completion of G."""
        return share([any(r.verdict.reward == 1.0 for r in group) for group in self.groups])

    @property
    def truncated(self) -> Share:
        return clustered([[r.completion.truncated for r in group] for group in self.groups])

    @property
    def learns(self) -> bool:
        """Whether anything can be learnt: some group had a signal."""
        return self.signal.seen > 0

    def status(self, status: Status) -> Share:
        """Share of completions with it."""
        return clustered([[r.verdict.status is status for r in group] for group in self.groups])


def measure(trainer: Trainer, module: PolicyModule, data: RolloutDataModule, groups: int, processes: int) -> Findings:
    """Sample, verify, score and credit groups, a second time as many where the first ones show no signal.

    Args:
        trainer: with the model on its device; nothing is trained.
        groups: problems.
        processes: of the run, for its time.
    """
    planned = evaluations(trainer)
    resampling, data.max_resampling_rounds = data.max_resampling_rounds, 0
    problems, every = _problems(data, LOOKED_AT, usable=True), _problems(data, LOOKED_AT, usable=False)
    _warm_up(module, data, problems[0])
    collected = [_collect(data, groups, 0)]
    if not _signal(collected).seen:
        collected.append(_collect(data, groups, 1))
    sampled = _own_samples(module, data, collected, groups)
    needs = module.objective.needs
    asks = bool(needs.signals & (Signal.TEACHER | Signal.DISTRIBUTION))
    seed = derive_seed(data.seed, "preflight")
    teacher = teacher_findings(data.collector, collected[0], every, seed) if asks else None
    cost = update_cost(trainer, module, data, collected[0].batch)
    prompts = [len(ids) for ids in data.collector.sampler.prompts(problems)]
    longest = max(prompts + (teacher.prompts if teacher else []))
    signal = _signal(collected)
    seconds = _seconds(data, collected, sampled, cost, signal, resampling, processes)
    evaluation = seconds.pop("evaluation")
    return Findings(
        groups=sampled.groups,
        greedy=_greedy(data, sampled, seed),
        signal=signal,
        demonstrations=bool(needs.demonstrations),
        instruction=data.verifier.instruction,
        rules=rule_outcomes(data.verifier, sampled.groups),
        teacher=teacher,
        prompts=prompts,
        max_tokens=data.sampling.max_tokens,
        temperature=data.sampling.temperature,
        tokens_per_second=sum(len(r.completion.token_ids) for r in sampled.rollouts) / sampled.generate_seconds,
        time=RunTime(trainer.max_epochs or 0, sum(seconds.values()), planned, evaluation),
        seconds=seconds,
        processes=processes,
        held_out=data.held_out,
        samples=data.val_samples,
        peak=peak_bytes(module.policy.device),
        plan=memory_plan(sizes_of(trainer, module, data, longest)),
        device=module.policy.device.type,
    )


def _problems(data: RolloutDataModule, most: int, usable: bool) -> list[Problem]:
    """The first training problems; all as they stand in the data, or those that a run does not leave out."""
    size = data.task.size("train")
    indices = data.usable["train"] if usable else None
    if indices is None:
        indices = range(most if size is None else size)
    return [data.task.problem("train", index) for index in indices[:most]]


def _warm_up(module: PolicyModule, data: RolloutDataModule, problem: Problem) -> None:
    """The first call of an engine loads kernels; that is no part of its speed."""
    sampler = data.collector.sampler
    with sampler.forward_context():
        data.engine.generate(module.policy, sampler.prompts([problem]), Sampling(max_tokens=2), 0)


def _collect(data: RolloutDataModule, groups: int, place: int) -> RolloutSet:
    """The ``place``-th groups of training problems, in the order of the run."""
    order = ProblemOrder(data.task, data.usable["train"], groups, data.seed)
    return data.collector.collect(order.problems(place), 0, derive_seed(data.seed, "rollout", place, 0))


def _signal(collected: Sequence[RolloutSet]) -> Share:
    learnt = [flag for each in collected for flag in learnt_groups(each.batch, len(each.groups)).tolist()]
    return share(learnt)


def _own_samples(
    module: PolicyModule, data: RolloutDataModule, collected: Sequence[RolloutSet], groups: int
) -> SampledGroups:
    """What the policy itself says: the rollouts, or samples where the objective learns from demonstrations."""
    if module.objective.needs.demonstrations:
        order = ProblemOrder(data.task, data.usable["train"], groups, data.seed)
        return data.collector.sampler.sample(order.problems(0), data.sampling, derive_seed(data.seed, "rollout", 0, 0))
    rollouts = [group for each in collected for group in each.groups]
    return SampledGroups([], rollouts, _total(collected, "generate"), _total(collected, "verify"))


def _greedy(data: RolloutDataModule, sampled: SampledGroups, seed: int) -> Share:
    once = replace(data.sampling, completions=1, temperature=0.0)
    problems = [group[0].problem for group in sampled.groups]
    return accuracy(data.collector.sampler.sample(problems, once, seed, "greedy").groups)


def _seconds(
    data: RolloutDataModule,
    collected: Sequence[RolloutSet],
    sampled: SampledGroups,
    cost: UpdateCost,
    signal: Share,
    resampling: int,
    processes: int,
) -> dict[str, float]:
    """Of one iteration by phase and of one evaluation, on each of the processes: in proportion to completions.

    Dynamic sampling replaces a share q of the groups in each of R rounds: 1 + q + ... + q^R times the samples.
    """
    seen = sum(len(each.batch) for each in collected)
    per_prompt = len(collected[0].groups[0])
    completions = data.prompts_per_rollout * per_prompt / processes
    rounds = sum((1 - signal.value) ** n for n in range(resampling + 1))
    own = (sampled.generate_seconds + sampled.verify_seconds) / len(sampled.rollouts)
    return {
        "sampling": _total(collected, "generate") / seen * completions * rounds,
        "verification": _total(collected, "verify") / seen * completions * rounds,
        "scoring": _total(collected, "score") / seen * completions,
        "update": cost.completion_seconds * completions,
        "evaluation": own * data.held_out * (1 + data.val_samples) / processes,
    }


def _total(collected: Sequence[RolloutSet], phase: str) -> float:
    return sum(each.sums[f"perf/{phase}_seconds"][0] for each in collected)
