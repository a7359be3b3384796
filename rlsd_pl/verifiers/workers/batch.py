"""One call of the pool: requests to workers, replies and deaths back, and the clock over all of it."""

from __future__ import annotations

import json
import selectors
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlsd_pl.verifiers.budget import Budget
from rlsd_pl.verifiers.workers.process import Outcome, Reply, WorkerProcess

if TYPE_CHECKING:
    from rlsd_pl.verifiers.workers.pool import WorkerPool

_CRASHES_ALLOWED = 2
"""A worker that crashes twice on one request crashed because of it."""
_KILLS_ALLOWED = 5
"""A worker killed from outside loses nothing: its request runs again, up to this many times."""
_FAILED_STARTS_ALLOWED = 3


class Batch:
    """One call of :meth:`rlsd_pl.verifiers.workers.pool.WorkerPool.map`."""

    def __init__(self, pool: WorkerPool, requests: Sequence[Mapping[str, Any]]) -> None:
        self.pool, self._limits = pool, pool.limits
        self.lines = [(json.dumps(request) + "\n").encode() for request in requests]
        self.replies: list[Reply | None] = [None] * len(requests)
        self.losses: list[Counter[Outcome]] = [Counter() for _ in requests]
        self.waiting: deque[int] = deque()
        self.again: deque[int] = deque()  # reached the short limits
        self.budget = Budget(pool.limits.batch_seconds * pool.workers)
        self.failed_starts = 0
        self.selector = selectors.DefaultSelector()

    def run(self) -> list[Reply]:
        try:
            self._admit()
            for worker in self.pool.live():
                self._watch(worker)
            while self.waiting or self.again or any(worker.job is not None for worker in self.pool.live()):
                self._staff()
                self._wait()
                self._expire()
        finally:
            self.selector.close()
        self.budget.report("Requests")
        first = {line: self.replies[index] for index, line in reversed(list(enumerate(self.lines)))}
        return [first[line] or Reply(Outcome.FAILED, detail="no reply") for line in self.lines]

    def _admit(self) -> None:
        cap = self._limits.request_bytes
        seen: set[bytes] = set()
        for index, line in enumerate(self.lines):
            if line in seen:
                continue
            seen.add(line)
            if len(line) <= cap:
                self.waiting.append(index)
            else:
                self.replies[index] = Reply(Outcome.OVERSIZED, detail=f"request of {len(line)} bytes, cap {cap}")

    def _watch(self, worker: WorkerProcess) -> None:
        self.selector.register(worker.replies, selectors.EVENT_READ, worker)

    def _staff(self) -> None:
        """Hand requests to idle workers; start workers while there is more work than workers."""
        while self.again and self.budget.spent:
            self.replies[self.again.popleft()] = self._timed_out(
                self.budget.refuse(f"{self._limits.short_seconds:g} s")
            )
        for worker in self.pool.live():
            if worker.idle and (queue := self.waiting or self.again):
                worker.send(index := queue.popleft(), self.lines[index], queue is self.waiting and self.budget.tight)
                self._feed(worker)
        starting = sum(worker.starting for worker in self.pool.live())
        while len(self.pool.live()) < self.pool.workers and starting < len(self.waiting) + len(self.again):
            self._watch(self.pool.start_worker())
            starting += 1

    def _feed(self, worker: WorkerProcess) -> None:
        """Write what the pipe takes; the selector says when it takes more."""
        watched = worker.requests.fileno() in self.selector.get_map()
        if worker.feed():
            if watched:
                self.selector.unregister(worker.requests)
        elif not watched:
            self.selector.register(worker.requests, selectors.EVENT_WRITE, worker)

    def _wait(self) -> None:
        deadlines = [worker.deadline for worker in self.pool.live() if worker.deadline is not None]
        pause = max(0.0, min(deadlines, default=time.monotonic()) - time.monotonic())
        for key, events in self.selector.select(pause):
            worker: WorkerProcess = key.data
            if worker.dead:  # removed while an earlier event of this round was handled
                continue
            if events & selectors.EVENT_WRITE:
                self._feed(worker)
            else:
                self._receive(worker)

    def _receive(self, worker: WorkerProcess) -> None:
        job = worker.job
        reply = worker.receive()
        if reply is None:
            return
        if reply.outcome in (Outcome.CRASHED, Outcome.KILLED):
            self._lost(worker, job, reply)
        elif job is None:
            self._start_failed(worker, reply.detail)
        else:
            self._finish(worker, job, reply)

    def _finish(self, worker: WorkerProcess, job: int, reply: Reply) -> None:
        self.replies[job] = reply
        self.failed_starts = 0
        if reply.outcome not in (Outcome.VALUE, Outcome.FAILED):
            self._renew(worker)
        elif worker.jobs_done >= self._limits.jobs_per_worker:
            self.pool.counts.recycled += 1
            self._renew(worker)

    def _lost(self, worker: WorkerProcess, job: int | None, reply: Reply) -> None:
        """A worker died by itself: its request runs again unless it has cost too many workers."""
        self.pool.counts.died += 1
        starting = worker.starting and worker.dead
        if worker.dead:
            self._remove(worker)
        if job is None:
            if starting and reply.outcome is Outcome.CRASHED:  # a kill says nothing of the handler
                self._count_failed_start(reply.detail)
            return
        self.losses[job][reply.outcome] += 1
        allowed = _CRASHES_ALLOWED if reply.outcome is Outcome.CRASHED else _KILLS_ALLOWED
        if self.losses[job][reply.outcome] >= allowed:
            self.replies[job] = reply
        else:
            self.waiting.appendleft(job)

    def _expire(self) -> None:
        now = time.monotonic()
        for worker in self.pool.live():
            if worker.deadline is None or worker.deadline > now:
                continue
            if worker.job is None:
                self._start_failed(worker, f"not ready within {self._limits.start_seconds} s")
                continue
            self.pool.counts.timed_out += 1
            if worker.short:
                self.again.append(worker.job)
            else:
                self.budget.lost += self._limits.wall_seconds
                self.replies[worker.job] = self._timed_out(f"over {self._limits.wall_seconds:g} s")
            self._renew(worker)

    @staticmethod
    def _timed_out(detail: str) -> Reply:
        return Reply(Outcome.TIMEOUT, detail=detail)

    def _renew(self, worker: WorkerProcess) -> None:
        """End what serves in ``worker``; its next fork is ready at once."""
        if worker.requests.fileno() in self.selector.get_map():
            self.selector.unregister(worker.requests)
        worker.renew()

    def _start_failed(self, worker: WorkerProcess, reason: str) -> None:
        self._remove(worker)
        self._count_failed_start(reason)

    def _count_failed_start(self, reason: str) -> None:
        self.failed_starts += 1
        if self.failed_starts >= _FAILED_STARTS_ALLOWED and all(worker.starting for worker in self.pool.live()):
            self._give_up(f"worker does not start: {reason}")

    def _give_up(self, reason: str) -> None:
        for index in (*self.waiting, *self.again):
            self.replies[index] = Reply(Outcome.FAILED, detail=reason)
        self.waiting.clear()
        self.again.clear()

    def _remove(self, worker: WorkerProcess) -> None:
        for pipe in (worker.requests, worker.replies):
            if pipe.fileno() in self.selector.get_map():
                self.selector.unregister(pipe)
        self.pool.remove(worker)
