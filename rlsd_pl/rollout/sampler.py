"""From problems to verified completions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from rlsd_pl.contexts import Context
from rlsd_pl.engines import Engine, OnFinished, demonstrate
from rlsd_pl.errors import UserCodeError
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.verdicts import PendingVerdicts
from rlsd_pl.rollout.watch import TIMEOUT_SECONDS
from rlsd_pl.types import Completion, Message, Problem, Rollout, Sampling, Status, Verdict
from rlsd_pl.verifiers.base import Verifier


@dataclass(frozen=True)
class Progress:
    """How far a phase has come, in completions.

    Attributes:
        phase: ``rollouts``, ``resampling`` or ``evaluation``.
    """

    phase: str
    finished: int
    total: int


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """For runs that show nothing."""


class VerifierError(UserCodeError):
    """The verifier itself failed too often to train on its verdicts."""


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from parts such as (seed, "rollout", iteration, rank): nothing has to be carried to resume."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def student_messages(problem: Problem, verifier: Verifier) -> list[Message]:
    """The student's chat: the problem's, with the verifier's answer instruction behind the last user turn."""
    if not verifier.instruction or verifier.instruction in problem.prompt:
        return list(problem.messages)
    last = max(i for i, m in enumerate(problem.messages) if m["role"] == "user")
    return [
        {**m, "content": f"{m['content']}\n\n{verifier.instruction}"} if i == last else m
        for i, m in enumerate(problem.messages)
    ]


def teacher_messages(context: Context, problem: Problem, verifier: Verifier, text: str) -> list[Message]:
    """The teacher's chat, with the verifier's answer instruction where the context wants it."""
    asked = replace(problem, messages=student_messages(problem, verifier)) if context.instruction else problem
    return context.messages(asked, text)


@dataclass
class SampledGroups:
    """Verified completions.

    Attributes:
        prompts: the student's token ids, one sequence per problem.
        groups: one list of rollouts per problem.
        generate_seconds: until the last completion was there.
        verify_seconds: from then until the last verdict was there.
        replaced: rollouts of zero-variance groups that dynamic sampling has replaced.
        resampling_rounds: how many rounds that took.
    """

    prompts: list[list[int]]
    groups: list[list[Rollout]]
    generate_seconds: float
    verify_seconds: float
    replaced: list[Rollout] = field(default_factory=list[Rollout])
    resampling_rounds: int = 0

    @property
    def rollouts(self) -> list[Rollout]:
        """All that are learnt from, group by group."""
        return [rollout for group in self.groups for rollout in group]

    def replace(self, places: Sequence[int], fresh: SampledGroups) -> None:
        """Put fresh groups in these places; fresh ones beyond the places are dropped."""
        self.resampling_rounds += 1
        self.generate_seconds += fresh.generate_seconds
        self.verify_seconds += fresh.verify_seconds
        for place, prompt, group in zip(places, fresh.prompts, fresh.groups, strict=False):
            self.replaced += self.groups[place]
            self.prompts[place], self.groups[place] = prompt, group


@dataclass(kw_only=True)
class Sampler:
    """Samples completions and has them verified while others are still being generated.

    Attributes:
        max_error_share: share of completions that the verifier may fail on before the run stops.
        verify_timeout_seconds: of one call of the verifier before the run stops.
        forward_context: precision context for forwards outside the training step.
        on_progress: told how many completions are final.
    """

    policy: Policy
    engine: Engine
    verifier: Verifier
    max_error_share: float = 0.05
    verify_timeout_seconds: float = TIMEOUT_SECONDS
    forward_context: Callable[[], AbstractContextManager[object]] = nullcontext
    on_progress: OnProgress = ignore_progress

    def __post_init__(self) -> None:
        self.verifier.bind([str(self.policy.tokenizer.decode([stop])) for stop in sorted(self.policy.stop_ids)])

    def prompts(self, problems: Sequence[Problem]) -> list[list[int]]:
        """The student's prompts."""
        return [self.policy.encode(student_messages(problem, self.verifier)) for problem in problems]

    def sample(
        self, problems: Sequence[Problem], sampling: Sampling, seed: int, phase: str = "rollouts"
    ) -> SampledGroups:
        """``sampling.completions`` verified completions of each problem.

        Raises:
            VerifierError: if the verifier fails on more than ``max_error_share`` of them.
        """
        progress = _Counter(phase, len(problems) * sampling.completions, self.on_progress)

        def generate(prompts: list[list[int]], submit: OnFinished) -> list[list[Completion]]:
            def finished(completions: Sequence[tuple[int, Completion]]) -> None:
                submit(completions)
                progress.add(len(completions))

            generated = self.engine.generate(self.policy, prompts, sampling, seed, finished)
            _check_generated(self.engine, generated, len(prompts), sampling.completions)
            return generated

        return self._verified(problems, generate)

    def demonstrate(self, problems: Sequence[Problem], fields: Sequence[str], sampling: Sampling) -> SampledGroups:
        """One completion per problem, the first of its privileged ``fields`` that it has, verified likewise."""
        return self._verified(
            problems, lambda prompts, submit: demonstrate(self.policy, problems, prompts, fields, sampling)
        )

    def _verified(
        self,
        problems: Sequence[Problem],
        make: Callable[[list[list[int]], OnFinished], list[list[Completion]]],
    ) -> SampledGroups:
        start = time.perf_counter()
        prompts = self.prompts(problems)
        with PendingVerdicts(self.verifier, problems, self.verify_timeout_seconds) as verdicts:
            with self.forward_context():
                groups = make(prompts, verdicts.submit)
            generated = time.perf_counter()
            rollouts = verdicts.rollouts(groups)
        self._refuse_errors([rollout.verdict for group in rollouts for rollout in group])
        return SampledGroups(prompts, rollouts, generated - start, time.perf_counter() - generated)

    def _refuse_errors(self, verdicts: Sequence[Verdict]) -> None:
        failed = [verdict for verdict in verdicts if verdict.status is Status.ERROR]
        if len(failed) > self.max_error_share * len(verdicts):
            raise VerifierError(
                f"The verifier failed on {len(failed)} of {len(verdicts)} completions (allowed: "
                f"{self.max_error_share:.0%}). First: {failed[0].detail!r}. Correct the verifier or its data, or raise "
                "--data.max_error_share."
            )


def _check_generated(engine: Engine, generated: Any, prompts: int, completions: int) -> None:
    whole = isinstance(generated, list | tuple) and len(generated) == prompts
    if not whole or any(len(group) != completions for group in generated):
        raise UserCodeError(
            f"{type(engine).__name__}.generate returned {generated!r:.80} for {prompts} prompts; expected as many "
            f"lists, each of {completions} completions."
        )


@dataclass
class _Counter:
    phase: str
    total: int
    on_progress: OnProgress
    finished: int = 0

    def add(self, count: int) -> None:
        self.finished += count
        self.on_progress(Progress(self.phase, self.finished, self.total))
