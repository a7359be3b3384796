"""The worker processes during one call of the pool: requests to them, replies and deaths back."""

from __future__ import annotations

import selectors
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rlsd_pl.verifiers.budget import Budget
from rlsd_pl.verifiers.schedule import Ended
from rlsd_pl.verifiers.workers.process import Outcome, Reply, WorkerProcess

if TYPE_CHECKING:
    from rlsd_pl.verifiers.workers.pool import WorkerPool

_ATTEMPTS = {Outcome.CRASHED: 2, Outcome.KILLED: 5}
"""A worker that crashes twice on one request crashed because of it; a kill from outside costs the request nothing."""
_FAILED_STARTS_ALLOWED = 3


def request_job(line: bytes, cap: int) -> Generator[bytes, Reply, Reply]:
    """The reply to a request, which runs again after the death of its worker; one of more than ``cap`` bytes never."""
    if len(line) > cap:
        return Reply(Outcome.OVERSIZED, detail=f"request of {len(line)} bytes, cap {cap}")
    deaths: Counter[Outcome] = Counter()
    while True:
        reply = yield line
        deaths[reply.outcome] += 1
        if deaths[reply.outcome] >= _ATTEMPTS.get(reply.outcome, 1):
            return reply


class WorkerSlots:
    """The workers of a pool as :class:`~rlsd_pl.verifiers.schedule.Slots`; they outlive the batch."""

    def __init__(self, pool: WorkerPool, selector: selectors.BaseSelector) -> None:
        self._pool, self._limits, self._selector = pool, pool.limits, selector
        self._ended: list[Ended[Reply]] = []
        self._failed_starts = 0
        self._broken: str | None = None  # why no worker starts
        for worker in pool.live():
            self._watch(worker)

    def has_room(self, waiting: int) -> bool:
        """Whether a worker is idle; starts workers while there is more work than workers."""
        workers = self._pool.live()
        if self._broken is not None or any(worker.idle for worker in workers):
            return True
        starting = sum(worker.starting for worker in workers)
        for _ in range(min(self._pool.workers - len(workers), waiting - starting)):
            self._watch(self._pool.start_worker())
        return False

    def start(self, job: int, request: bytes, short: bool) -> None:
        if self._broken is not None:
            self._ended.append(Ended(job, Reply(Outcome.FAILED, detail=self._broken)))
            return
        worker = next(worker for worker in self._pool.live() if worker.idle)
        worker.send(job, request, short)
        self._feed(worker)

    def wake_at(self) -> float:
        deadlines = [worker.deadline for worker in self._pool.live() if worker.deadline is not None]
        return 0.0 if self._ended else min(deadlines, default=0.0)

    def collect(self) -> list[Ended[Reply]]:
        self._expire()
        ended, self._ended = self._ended, []
        return ended

    def refuse(self, result: Reply, budget: Budget) -> Reply:
        return replace(result, detail=budget.refuse(f"{self._limits.short_seconds:g} s"))

    def close(self) -> None:
        """End what still serves a request, which happens only after an interrupt."""
        for worker in self._pool.live():
            if worker.job is not None:
                worker.renew()

    def _watch(self, worker: WorkerProcess) -> None:
        self._selector.register(worker.replies, selectors.EVENT_READ, partial(self._receive, worker))

    def _feed(self, worker: WorkerProcess) -> None:
        """Write what the pipe takes; the selector says when it takes more."""
        if worker.dead:  # removed while an earlier event of this round was handled
            return
        watched = worker.requests.fileno() in self._selector.get_map()
        if worker.feed():
            if watched:
                self._selector.unregister(worker.requests)
        elif not watched:
            self._selector.register(worker.requests, selectors.EVENT_WRITE, partial(self._feed, worker))

    def _receive(self, worker: WorkerProcess) -> None:
        job = worker.job
        reply = None if worker.dead else worker.receive()
        if reply is None:
            return
        if reply.outcome in _ATTEMPTS:
            self._lost(worker, reply, idle=job is None)
        elif job is None:
            self._start_failed(worker, reply.detail)
        else:
            self._finished(worker, reply)
        if job is not None:
            self._ended.append(Ended(job, reply))

    def _finished(self, worker: WorkerProcess, reply: Reply) -> None:
        self._failed_starts = 0
        if reply.outcome not in (Outcome.VALUE, Outcome.FAILED):
            self._renew(worker)
        elif worker.jobs_done >= self._limits.jobs_per_worker:
            self._pool.counts.recycled += 1
            self._renew(worker)

    def _lost(self, worker: WorkerProcess, reply: Reply, idle: bool) -> None:
        """A worker died by itself."""
        self._pool.counts.died += 1
        if not worker.dead:
            return
        self._remove(worker)
        if idle and worker.starting and reply.outcome is Outcome.CRASHED:  # a kill says nothing of the handler
            self._count_failed_start(reply.detail)

    def _expire(self) -> None:
        now = time.monotonic()
        for worker in self._pool.live():
            if worker.deadline is None or worker.deadline > now:
                continue
            if worker.job is None:
                self._start_failed(worker, f"not ready within {self._limits.start_seconds} s")
                continue
            self._pool.counts.timed_out += 1
            reply = Reply(Outcome.TIMEOUT, detail=f"over {self._limits.wall_seconds:g} s")
            cost = 0.0 if worker.short else self._limits.wall_seconds
            self._ended.append(Ended(worker.job, reply, shortened=worker.short, cost=cost))
            self._renew(worker)

    def _renew(self, worker: WorkerProcess) -> None:
        """End what serves in ``worker``; its next fork is ready at once."""
        if worker.requests.fileno() in self._selector.get_map():
            self._selector.unregister(worker.requests)
        worker.renew()

    def _start_failed(self, worker: WorkerProcess, reason: str) -> None:
        self._remove(worker)
        self._count_failed_start(reason)

    def _count_failed_start(self, reason: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS_ALLOWED and all(worker.starting for worker in self._pool.live()):
            self._broken = f"worker does not start: {reason}"

    def _remove(self, worker: WorkerProcess) -> None:
        for pipe in (worker.requests, worker.replies):
            if pipe.fileno() in self._selector.get_map():
                self._selector.unregister(pipe)
        self._pool.remove(worker)
