"""Runs sandboxed programs side by side from one thread.

A job is a generator that yields a :class:`Run`, is sent its :class:`Finished`, and returns its result. Nothing here
waits for the end of a stream without a deadline, and no model output is parsed.
"""

from __future__ import annotations

import errno
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Generic, TypeVar

from rlsd_pl.verifiers.budget import Budget
from rlsd_pl.verifiers.sandbox.active import ActiveRun
from rlsd_pl.verifiers.sandbox.limits import ShortLimits
from rlsd_pl.verifiers.sandbox.runs import Finished, Job, Run, Stop
from rlsd_pl.verifiers.sandbox.sandbox import Sandbox, SandboxUnavailableError

T = TypeVar("T")

_WAITING_FOR_EACH, _MOST_WAITING = 16, 64
"""Runs that wait, for sleep or for input, beside each one that computes; and at most. They cost memory alone."""
_SCARCE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What the system may be short of because of the other runs."""
_SHORTENED = frozenset({Stop.CPU, Stop.WALL})
"""Ends that short limits bring about."""


def run(request: Run, sandbox: Sandbox, stderr: int = subprocess.DEVNULL) -> Finished:
    """One run to its end."""

    def job() -> Job[Finished]:
        return (yield request)

    return run_jobs([job()], sandbox, concurrency=1, stderr=stderr)[0]


def run_jobs(jobs: Iterable[Job[T]], sandbox: Sandbox, concurrency: int, stderr: int = subprocess.DEVNULL) -> list[T]:
    """Results of all jobs, in order.

    At most ``concurrency`` runs compute at a time; more may be under way while some of them sleep. What the batch loses
    to runs that reach their limits is bounded by ``sandbox.limits.batch_seconds`` for each of them, see
    :class:`~rlsd_pl.verifiers.budget.Budget`.
    """
    return _Batch(list(jobs), sandbox, concurrency, stderr).drive()


class _Batch(Generic[T]):
    """One call of :func:`run_jobs`. A queue holds (number of the job, its next run, what became of it so far)."""

    def __init__(self, jobs: list[Job[T]], sandbox: Sandbox, concurrency: int, stderr: int) -> None:
        self._jobs, self._sandbox, self._concurrency, self._stderr = jobs, sandbox, concurrency, stderr
        self._budget = Budget(sandbox.limits.batch_seconds * concurrency)
        self._first: deque[tuple[int, Run | None, Finished | None]] = deque((n, None, None) for n in range(len(jobs)))
        self._again: deque[tuple[int, Run | None, Finished | None]] = deque()
        self._active: dict[int, ActiveRun] = {}
        self._results: dict[int, T] = {}
        self._scarce = False
        self._displaced: set[int] = set()
        self._memory_bytes = 2 * concurrency * sandbox.limits.memory_bytes  # a run has up to two processes

    def drive(self) -> list[T]:
        with selectors.DefaultSelector() as self._selector:
            try:
                while self._first or self._again or self._active:
                    self._fill()
                    self._wait()
                    self._collect()
            finally:
                for active in self._active.values():
                    active.close()
        self._budget.report("Programs")
        return [self._results[number] for number in range(len(self._jobs))]

    def _has_room(self) -> bool:
        if len(self._active) < self._concurrency:
            return True
        waiting = sum(active.waits for active in self._active.values())
        beside = min(waiting, _WAITING_FOR_EACH * self._concurrency, _MOST_WAITING)
        spacious = sum(active.resident_bytes for active in self._active.values()) < self._memory_bytes / 2
        return not self._scarce and spacious and len(self._active) < self._concurrency + beside

    def _fill(self) -> None:
        while self._has_room() and (queue := self._first or self._again):
            number, request, so_far = queue.popleft()
            if so_far is not None and self._budget.spent:
                self._answer(number, replace(so_far, message=self._budget.refuse(str(_short_limits(self._sandbox)))))
                continue
            request = request or self._ask(number, None)
            if request is not None:
                self._start(number, request, so_far)

    def _start(self, number: int, request: Run, so_far: Finished | None) -> None:
        short = _short_limits(self._sandbox) if so_far is None and self._budget.tight else None
        try:
            self._active[number] = ActiveRun(request, self._sandbox, self._selector, self._stderr, short)
        except (OSError, SandboxUnavailableError) as error:
            if self._active and getattr(error, "errno", None) in _SCARCE:
                self._scarce = True  # until one of the others is over
                (self._first if so_far is None else self._again).appendleft((number, request, so_far))
                return
            self._answer(number, Finished(Stop.NOT_STARTED, message=f"{type(error).__name__}: {error}"))

    def _ask(self, number: int, finished: Finished | None) -> Run | None:
        """The next run of a job, or ``None`` when it has its result."""
        try:
            return next(self._jobs[number]) if finished is None else self._jobs[number].send(finished)
        except StopIteration as end:
            self._results[number] = end.value
            return None

    def _answer(self, number: int, finished: Finished) -> None:
        request = self._ask(number, finished)
        if request is not None:
            self._first.appendleft((number, request, None))

    def _hold_memory(self) -> None:
        """All runs together must not take more than those that compute could: end the largest that waits."""
        used = sum(active.resident_bytes for active in self._active.values())
        if used > self._memory_bytes:
            largest = max(self._active.values(), key=lambda active: (active.waits, active.resident_bytes))
            largest.end(Stop.MEMORY)

    def _collect(self) -> None:
        self._hold_memory()
        for number, active in list(self._active.items()):
            finished = active.finished()
            if finished is None:
                continue
            del self._active[number]
            self._scarce = False
            if active.short is not None and finished.stop in _SHORTENED:
                self._again.append((number, active.request, finished))
            elif finished.stop is Stop.MEMORY and number not in self._displaced:
                self._displaced.add(number)
                self._first.append((number, active.request, None))
            else:
                if active.short is None and active.at_limit(finished):
                    self._budget.lost += active.cpu_seconds + active.idle_seconds / _WAITING_FOR_EACH
                self._answer(number, finished)

    def _wait(self) -> None:
        if not self._active:
            return
        wake = min(active.wake_at() for active in self._active.values())
        for key, _ in self._selector.select(max(0.0, wake - time.monotonic())):
            key.data()


@cache
def _short_limits(sandbox: Sandbox) -> ShortLimits:
    """Those of ``sandbox``, but never below three times what starting the two processes of a run takes here."""
    short = sandbox.limits.short()
    source = b"import time; print(time.process_time())"
    finished = run(Run("script", b"%d\n" % len(source) + source), sandbox)
    try:
        start_seconds = float(finished.output.removeprefix(b"ready\n"))
    except ValueError:  # the machine is too busy to tell
        return short
    return replace(short, cpu_seconds=max(short.cpu_seconds, 6 * start_seconds))
