"""From problems to verified completions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from rlsd_pl.engines import Engine, OnFinished, OnProgress, demonstrate, ignore_progress
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Message, Problem, Rollout, Sampling, Status, Verdict
from rlsd_pl.verifiers.base import Verifier

Watch = Callable[[str, int], OnProgress]
"""Given what is being sampled ("rollouts", "evaluation") and how many completions, returns who is told of progress."""


Make = Callable[[list[list[int]], OnFinished], list[list[Completion]]]
"""Makes completions from prompts; told whom to give those that are final."""


def watch_nothing(what: str, completions: int) -> OnProgress:
    """The watch of someone who does not look."""
    return ignore_progress


class VerifierError(RuntimeError):
    """The verifier itself failed too often to train on what it says."""


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


@dataclass
class Sampled:
    """Verified completions.

    Attributes:
        prompts: the student's token ids, one sequence per problem.
        groups: one list of rollouts per problem.
        generate_seconds: until the last completion was there.
        verify_seconds: from then until the last verdict was there.
        replaced: rollouts that gave way to others.
        refills: rounds of that.
    """

    prompts: list[list[int]]
    groups: list[list[Rollout]]
    generate_seconds: float
    verify_seconds: float
    replaced: list[Rollout] = field(default_factory=list[Rollout])
    refills: int = 0

    @property
    def rollouts(self) -> list[Rollout]:
        """All that count, group by group."""
        return [rollout for group in self.groups for rollout in group]

    def refill(self, places: Sequence[int], fresh: Sampled) -> None:
        """Put fresh groups in the places of others; there may be more of them than places."""
        self.refills += 1
        self.generate_seconds += fresh.generate_seconds
        self.verify_seconds += fresh.verify_seconds
        for place, prompt, group in zip(places, fresh.prompts, fresh.groups, strict=False):
            self.replaced += self.groups[place]
            self.prompts[place], self.groups[place] = prompt, group


@dataclass
class Sampler:
    """Samples completions and has them verified while others are still being generated.

    Attributes:
        max_error_share: share of completions that the verifier may fail on before the run stops.
        forward_context: precision context for forwards outside the training step.
    """

    policy: Policy
    engine: Engine
    verifier: Verifier
    max_error_share: float = 0.05
    forward_context: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)

    def __post_init__(self) -> None:
        self.verifier.bind([str(self.policy.tokenizer.decode([stop])) for stop in sorted(self.policy.stop_ids)])

    def prompts(self, problems: Sequence[Problem]) -> list[list[int]]:
        """The student's prompts."""
        return [self.policy.encode(student_messages(problem, self.verifier)) for problem in problems]

    def sample(
        self, problems: Sequence[Problem], sampling: Sampling, seed: int, on_progress: OnProgress = ignore_progress
    ) -> Sampled:
        """``sampling.completions`` verified completions of each problem.

        Raises:
            VerifierError: if the verifier fails on more than ``max_error_share`` of them.
        """
        return self._verified(
            problems,
            lambda prompts, ask: self.engine.generate(self.policy, prompts, sampling, seed, on_progress, ask),
        )

    def demonstrate(self, problems: Sequence[Problem], fields: Sequence[str], sampling: Sampling) -> Sampled:
        """One completion per problem, the first of its privileged ``fields`` that it has, verified likewise."""
        return self._verified(
            problems, lambda prompts, ask: demonstrate(self.policy, problems, prompts, fields, sampling)
        )

    def _verified(self, problems: Sequence[Problem], make: Make) -> Sampled:
        start = time.perf_counter()
        prompts = self.prompts(problems)
        with _Verdicts(self.verifier, problems) as verdicts:
            with self.forward_context():
                groups = make(prompts, verdicts.ask)
            generated = time.perf_counter()
            rollouts = verdicts.collect(groups)
        self._refuse_errors([rollout.verdict for group in rollouts for rollout in group])
        return Sampled(prompts, rollouts, generated - start, time.perf_counter() - generated)

    def _refuse_errors(self, verdicts: Sequence[Verdict]) -> None:
        failed = [verdict for verdict in verdicts if verdict.status is Status.ERROR]
        if len(failed) > self.max_error_share * len(verdicts):
            raise VerifierError(
                f"The verifier failed on {len(failed)} of {len(verdicts)} completions (allowed: "
                f"{self.max_error_share:.0%}). First: {failed[0].detail!r}. Mend the verifier or its data, or raise "
                "--data.max_error_share."
            )


@dataclass
class _Verdicts:
    """Verdicts that are worked out in a thread of their own, which mostly waits for the verifier's processes."""

    verifier: Verifier
    problems: Sequence[Problem]
    asked: list[tuple[list[Completion], Future[list[Verdict]]]] = field(default_factory=list)

    def __enter__(self) -> _Verdicts:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="verify")
        return self

    def __exit__(self, *error: object) -> None:
        self.thread.shutdown(cancel_futures=True)

    def ask(self, finished: Sequence[tuple[int, Completion]]) -> None:
        """Have completions judged, each with the index of its problem."""
        texts = [completion.text for _, completion in finished]
        problems = [self.problems[i] for i, _ in finished]
        verdicts = self.thread.submit(self.verifier.verify, texts, problems)
        self.asked.append(([completion for _, completion in finished], verdicts))

    def collect(self, groups: Sequence[Sequence[Completion]]) -> list[list[Rollout]]:
        """Wait for all; an engine need not have announced every completion before it returned."""
        announced = {id(completion) for completions, _ in self.asked for completion in completions}
        late = [(i, c) for i, group in enumerate(groups) for c in group if id(c) not in announced]
        if late:
            self.ask(late)
        verdict_of = {
            id(completion): verdict
            for completions, verdicts in self.asked
            for completion, verdict in zip(completions, verdicts.result(), strict=True)
        }
        return [
            [Rollout(problem, completion, verdict_of[id(completion)]) for completion in group]
            for problem, group in zip(self.problems, groups, strict=True)
        ]
