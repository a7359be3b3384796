"""Verification beside generation."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from rlsd_pl.types import Completion, Problem, Rollout, Verdict
from rlsd_pl.verifiers.base import Verifier


@dataclass
class PendingVerdicts:
    """Verdicts that are worked out in a thread of their own, which mostly waits for the verifier's processes.

    Completions that were submitted while a batch was being judged form the next batch.
    """

    verifier: Verifier
    problems: Sequence[Problem]
    waiting: deque[tuple[Problem, Completion]] = field(default_factory=deque)
    judged: dict[int, Verdict] = field(default_factory=dict)
    batches: list[Future[None]] = field(default_factory=list)

    def __enter__(self) -> PendingVerdicts:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="verify")
        return self

    def __exit__(self, *error: object) -> None:
        self.thread.shutdown(cancel_futures=True)

    def submit(self, finished: Sequence[tuple[int, Completion]]) -> None:
        """Have completions judged, each with the index of its problem."""
        self.waiting.extend((self.problems[i], completion) for i, completion in finished)
        self.batches.append(self.thread.submit(self._judge_waiting))

    def rollouts(self, groups: Sequence[Sequence[Completion]]) -> list[list[Rollout]]:
        """Wait for all verdicts. Completions that the engine did not announce are judged now."""
        self._wait()
        late = [(i, c) for i, group in enumerate(groups) for c in group if id(c) not in self.judged]
        if late:
            self.submit(late)
            self._wait()
        return [
            [Rollout(problem, completion, self.judged[id(completion)]) for completion in group]
            for problem, group in zip(self.problems, groups, strict=True)
        ]

    def _wait(self) -> None:
        for batch in self.batches:
            batch.result()

    def _judge_waiting(self) -> None:
        batch = [self.waiting.popleft() for _ in range(len(self.waiting))]
        if not batch:
            return
        verdicts = self.verifier.verify([completion.text for _, completion in batch], [problem for problem, _ in batch])
        for (_, completion), verdict in zip(batch, verdicts, strict=True):
            self.judged[id(completion)] = verdict
