"""Runs sandboxed programs side by side from one thread.

A job is a generator that yields a :class:`Run`, is sent its :class:`Finished`, and returns its result. Nothing here
waits for the end of a stream without a deadline, and no model output is parsed.
"""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Iterable
from typing import Generic, TypeVar

from rlsd_pl.verifiers.sandbox.active import ActiveRun
from rlsd_pl.verifiers.sandbox.runs import Finished, Job, Run, Stop
from rlsd_pl.verifiers.sandbox.sandbox import Sandbox, SandboxUnavailableError

T = TypeVar("T")


def run(request: Run, sandbox: Sandbox, stderr: int = subprocess.DEVNULL) -> Finished:
    """One run to its end."""

    def job() -> Job[Finished]:
        return (yield request)

    return run_jobs([job()], sandbox, concurrency=1, stderr=stderr)[0]


def run_jobs(jobs: Iterable[Job[T]], sandbox: Sandbox, concurrency: int, stderr: int = subprocess.DEVNULL) -> list[T]:
    """Results of all jobs, in order, with at most ``concurrency`` runs at a time."""
    return _Scheduler(sandbox, stderr).drive(list(jobs), concurrency)


class _Scheduler(Generic[T]):
    def __init__(self, sandbox: Sandbox, stderr: int) -> None:
        self._sandbox, self._stderr = sandbox, stderr
        self._active: dict[int, ActiveRun] = {}
        self._results: dict[int, T] = {}

    def drive(self, jobs: list[Job[T]], concurrency: int) -> list[T]:
        waiting = list(reversed(range(len(jobs))))
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or self._active:
                    while waiting and len(self._active) < concurrency:
                        index = waiting.pop()
                        self._advance(index, jobs[index], None, selector)
                    self._wait(selector)
                    for index, active in list(self._active.items()):
                        finished = active.finished()
                        if finished is not None:
                            del self._active[index]
                            self._advance(index, jobs[index], finished, selector)
            finally:
                for active in self._active.values():
                    active.close()
        return [self._results[index] for index in range(len(jobs))]

    def _advance(self, index: int, job: Job[T], finished: Finished | None, selector: selectors.BaseSelector) -> None:
        """Send ``finished`` into the job until it has a run that starts, or its result."""
        while True:
            try:
                request = next(job) if finished is None else job.send(finished)
            except StopIteration as stop:
                self._results[index] = stop.value
                return
            try:
                self._active[index] = ActiveRun(request, self._sandbox, selector, self._stderr)
                return
            except (OSError, SandboxUnavailableError) as error:
                finished = Finished(Stop.NOT_STARTED, message=f"{type(error).__name__}: {error}")

    def _wait(self, selector: selectors.BaseSelector) -> None:
        if not self._active:
            return
        wake = min(active.wake_at() for active in self._active.values())
        for key, _ in selector.select(max(0.0, wake - time.monotonic())):
            key.data()
