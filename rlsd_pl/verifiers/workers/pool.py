"""A pool of worker processes that the parent owns: nothing that a model wrote can hang, crash or fill the trainer.

The parent holds the clock and kills by process group. Requests and replies are JSON lines with a length cap.
"""

from __future__ import annotations

import json
import os
import selectors
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsd_pl.verifiers.budget import Budget
from rlsd_pl.verifiers.schedule import run_all
from rlsd_pl.verifiers.workers.batch import WorkerSlots, request_job
from rlsd_pl.verifiers.workers.process import Outcome, Reply, WorkerLimits, WorkerProcess

__all__ = ["Outcome", "PoolCounts", "Reply", "WorkerLimits", "WorkerPool"]


@dataclass(slots=True)
class PoolCounts:
    """What happened to workers since the pool was made."""

    started: int = 0
    timed_out: int = 0
    died: int = 0
    recycled: int = 0


class WorkerPool:
    """Runs a handler on requests in ``workers`` child processes.

    Args:
        handler: dotted path of a function ``dict -> dict``, imported once in each child. Its module must not import
            torch (slow start) and its values must be JSON.
        workers: child processes, started when first needed.
        limits: see :class:`WorkerLimits`.
    """

    def __init__(self, handler: str, workers: int = 2, limits: WorkerLimits | None = None) -> None:
        if workers < 1:
            raise ValueError(f"got workers={workers}, expected at least 1; set workers to the CPU cores to spend")
        self.handler = handler
        self.workers = workers
        self.limits = limits or WorkerLimits()
        self.counts = PoolCounts()
        self._live: list[WorkerProcess] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()
        weakref.finalize(self, _kill_all, self._live, self._owner)

    def map(self, requests: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """One reply for each request, in order. Raises nothing for anything that a handler does.

        Equal requests run once: a handler is a function of its request.
        Callable from any thread; calls from several threads run one after the other.
        """
        with self._lock:
            if os.getpid() != self._owner:  # after a fork the workers belong to the other process
                self._live.clear()
                self._owner = os.getpid()
            return self._run([(json.dumps(request) + "\n").encode() for request in requests])

    def _run(self, lines: list[bytes]) -> list[Reply]:
        different = list(dict.fromkeys(lines))
        jobs = [request_job(line, self.limits.request_bytes) for line in different]
        budget = Budget(self.limits.batch_seconds * self.workers)
        with selectors.DefaultSelector() as selector:
            replies = run_all(jobs, WorkerSlots(self, selector), budget, selector)
        budget.report("Requests")
        found = dict(zip(different, replies, strict=True))
        return [found[line] for line in lines]

    def close(self) -> None:
        """Kill the workers; a later :meth:`map` starts new ones."""
        with self._lock:
            _kill_all(self._live, self._owner)

    def pids(self) -> list[int]:
        """Process ids of the live workers."""
        return [worker.pid for worker in self._live]

    def start_worker(self) -> WorkerProcess:
        """Start one more worker; only :meth:`map` calls this."""
        worker = WorkerProcess(self.handler, self.limits)
        self._live.append(worker)
        self.counts.started += 1
        return worker

    def remove(self, worker: WorkerProcess) -> None:
        """Kill ``worker`` and forget it."""
        worker.kill()
        self._live.remove(worker)

    def live(self) -> list[WorkerProcess]:
        """The workers of now (a copy)."""
        return list(self._live)


def _kill_all(workers: list[WorkerProcess], owner: int) -> None:
    if os.getpid() == owner:
        for worker in workers:
            worker.kill()
    workers.clear()
