"""Verification beside generation."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from queue import SimpleQueue

from rlsd_pl.errors import listed, user_code
from rlsd_pl.rollout.verdict_checks import checked_verdicts, verifier_name
from rlsd_pl.rollout.watch import TIMEOUT_SECONDS, WARNINGS, overdue
from rlsd_pl.types import Completion, Problem, Rollout, Verdict
from rlsd_pl.verifiers.base import Verifier

GRACE_SECONDS = 3.0
"""For a call that is running when the run ends in an error."""


@dataclass
class PendingVerdicts:
    """Verdicts that are worked out in a thread of their own, which mostly waits for the verifier's processes.

    Completions that were submitted while a batch was being judged form the next batch. The thread is a daemon: a
    verifier that never returns cannot keep the process from ending.

    Attributes:
        timeout_seconds: of one call of the verifier.
    """

    verifier: Verifier
    problems: Sequence[Problem]
    timeout_seconds: float = TIMEOUT_SECONDS
    waiting: deque[tuple[Problem, Completion]] = field(default_factory=deque)
    judged: dict[int, Verdict] = field(default_factory=dict)
    batches: list[Future[None]] = field(default_factory=list)
    queue: SimpleQueue[Future[None] | None] = field(default_factory=SimpleQueue)
    running: tuple[float, list[tuple[Problem, Completion]]] | None = None
    """When the verifier was called, and with what; ``None`` between calls."""

    def __enter__(self) -> PendingVerdicts:
        self.thread = threading.Thread(target=self._work, name="verify", daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for batch in self.batches:
            batch.cancel()
        self.queue.put(None)
        self.thread.join(None if error[0] is None else GRACE_SECONDS)

    def submit(self, finished: Sequence[tuple[int, Completion]]) -> None:
        """Have completions judged, each with the index of its problem."""
        self.waiting.extend((self.problems[i], completion) for i, completion in finished)
        self.batches.append(Future())
        self.queue.put(self.batches[-1])

    def rollouts(self, groups: Sequence[Sequence[Completion]]) -> list[list[Rollout]]:
        """Wait for all verdicts. Completions that the engine did not announce are judged now.

        Raises:
            UserCodeError: if the verifier raises, returns what is no verdict, or does not return in time.
        """
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
            self._until_done(batch)
            batch.result()

    def _work(self) -> None:
        while (batch := self.queue.get()) is not None:
            if not batch.set_running_or_notify_cancel():
                continue
            try:
                self._judge_waiting()
                batch.set_result(None)
            except BaseException as error:  # the waiting thread raises it
                batch.set_exception(error)

    def _judge_waiting(self) -> None:
        batch = [self.waiting.popleft() for _ in range(len(self.waiting))]
        if not batch:
            return
        texts, problems = [completion.text for _, completion in batch], [problem for problem, _ in batch]
        self.running = time.monotonic(), batch
        try:
            with user_code(f"{verifier_name(self.verifier)}.verify"):
                returned = self.verifier.verify(texts, problems)
        finally:
            self.running = None
        for (_, completion), verdict in zip(batch, checked_verdicts(self.verifier, returned, len(batch)), strict=True):
            self.judged[id(completion)] = verdict

    def _until_done(self, batch: Future[None]) -> None:
        """Wait, and look at the clock of the call that is running: warn, and give up when its time is over."""
        while wait_for([batch], self.timeout_seconds / (WARNINGS + 1)).not_done:
            if (running := self.running) is not None:
                self._check_clock(*running)

    def _check_clock(self, since: float, batch: list[tuple[Problem, Completion]]) -> None:
        ids = listed(sorted({problem.id for problem, _ in batch}))
        call = f"{verifier_name(self.verifier)}.verify"
        overdue(call, f"{len(batch)} completions (problems {ids})", since, self.timeout_seconds)
