"""Runs sandboxed programs side by side from one thread.

A job is a generator that yields a :class:`Run`, is sent its :class:`Finished`, and returns its result. Nothing here
waits for the end of a stream without a deadline, and no model output is parsed.
"""

from __future__ import annotations

import errno
import selectors
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import TypeVar

from rlsd_pl.verifiers.budget import Budget
from rlsd_pl.verifiers.sandbox.active import ActiveRun
from rlsd_pl.verifiers.sandbox.limits import ShortLimits
from rlsd_pl.verifiers.sandbox.runs import Finished, Job, Run, Stop
from rlsd_pl.verifiers.sandbox.sandbox import Sandbox, SandboxUnavailableError
from rlsd_pl.verifiers.schedule import Ended, run_all

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
    budget = Budget(sandbox.limits.batch_seconds * concurrency)
    with selectors.DefaultSelector() as selector:
        results = run_all(list(jobs), _RunSlots(sandbox, concurrency, stderr, selector), budget, selector)
    budget.report("Programs")
    return results


class _RunSlots:
    """Sandboxed processes as :class:`~rlsd_pl.verifiers.schedule.Slots`: one or two, started anew for each run."""

    def __init__(self, sandbox: Sandbox, concurrency: int, stderr: int, selector: selectors.BaseSelector) -> None:
        self._sandbox, self._concurrency, self._stderr, self._selector = sandbox, concurrency, stderr, selector
        self._active: dict[int, ActiveRun] = {}
        self._ended: list[Ended[Finished]] = []
        self._scarce = False
        self._displaced: set[int] = set()
        self._memory_bytes = 2 * concurrency * sandbox.limits.memory_bytes  # a run has up to two processes

    def has_room(self, waiting: int) -> bool:
        if self._scarce or len(self._active) < self._concurrency:
            return not self._scarce
        asleep = sum(active.waits for active in self._active.values())
        beside = min(asleep, _WAITING_FOR_EACH * self._concurrency, _MOST_WAITING)
        return self._used_bytes() < self._memory_bytes / 2 and len(self._active) < self._concurrency + beside

    def start(self, job: int, request: Run, short: bool) -> None:
        limits = _short_limits(self._sandbox) if short else None
        try:
            self._active[job] = ActiveRun(request, self._sandbox, self._selector, self._stderr, limits)
        except (OSError, SandboxUnavailableError) as error:
            # until one of the others is over
            self._scarce = bool(self._active) and getattr(error, "errno", None) in _SCARCE
            failure = Finished(Stop.NOT_STARTED, message=f"{type(error).__name__}: {error}")
            self._ended.append(Ended(job, None if self._scarce else failure))

    def wake_at(self) -> float:
        return 0.0 if self._ended else min((active.wake_at() for active in self._active.values()), default=0.0)

    def collect(self) -> list[Ended[Finished]]:
        self._hold_memory()
        ended, self._ended = self._ended, []
        for job, active in list(self._active.items()):
            finished = active.finished()
            if finished is not None:
                del self._active[job]
                self._scarce = False
                ended.append(self._judge(job, active, finished))
        return ended

    def refuse(self, result: Finished, budget: Budget) -> Finished:
        return replace(result, message=budget.refuse(str(_short_limits(self._sandbox))))

    def close(self) -> None:
        for active in self._active.values():
            active.close()

    def _judge(self, job: int, active: ActiveRun, finished: Finished) -> Ended[Finished]:
        if active.short is not None and finished.stop in _SHORTENED:
            return Ended(job, finished, shortened=True)
        if finished.stop is Stop.MEMORY and job not in self._displaced:
            self._displaced.add(job)
            return Ended(job, None)
        full = active.short is None and active.at_limit(finished)
        return Ended(job, finished, cost=active.cpu_seconds + active.idle_seconds / _WAITING_FOR_EACH if full else 0.0)

    def _used_bytes(self) -> int:
        return sum(active.resident_bytes for active in self._active.values())

    def _hold_memory(self) -> None:
        """All runs together must not take more than those that compute could: end the largest that waits."""
        if self._used_bytes() > self._memory_bytes:
            largest = max(self._active.values(), key=lambda active: (active.waits, active.resident_bytes))
            largest.end(Stop.MEMORY)


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
