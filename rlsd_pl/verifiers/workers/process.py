"""One worker process as its parent sees it: start, send, receive, kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any

from rlsd_pl.verifiers.budget import check_limits
from rlsd_pl.verifiers.workers.worker import END_SERVING, GO_ON

_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
"""What a worker inherits: enough to start Python, and no tokens or keys."""
_CHUNK = 65536


class Outcome(StrEnum):
    """How one request ended."""

    VALUE = "value"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OVERSIZED = "oversized"
    CRASHED = "crashed"
    KILLED = "killed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reply:
    """The end of one request; ``value`` is set if and only if ``outcome`` is ``VALUE``."""

    outcome: Outcome
    value: Any = None
    detail: str = ""


@dataclass(frozen=True)
class WorkerLimits:
    """What one worker may use.

    Attributes:
        wall_seconds: time for one request, after which the parent kills the process group.
        memory_bytes: address space of a worker (``RLIMIT_AS``; not enforced on macOS).
        request_bytes: longest request line. reply_bytes: longest reply line.
        jobs_per_worker: requests after which a worker is replaced, so that leaks of a library stay bounded.
        start_seconds: time to start Python and import the handler.
        batch_seconds: time, of all workers, that one call of ``map`` may lose to requests that reach ``wall_seconds``
            before it shortens that for the rest; see :class:`~rlsd_pl.verifiers.budget.Budget`.
    """

    wall_seconds: float = 2.0
    memory_bytes: int = 1 << 30
    request_bytes: int = 1 << 20
    reply_bytes: int = 1 << 16
    jobs_per_worker: int = 1000
    start_seconds: float = 60.0
    batch_seconds: float = 40.0

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def short_seconds(self) -> float:
        """Time for the first attempt of a request in a batch that has lost too much."""
        return min(self.wall_seconds, max(0.25, self.wall_seconds / 10))


class WorkerProcess:
    """A started worker. ``job`` is the number of the request in hand; ``deadline`` is on the monotonic clock.

    ``short`` says that the request in hand has short limits; ``dead`` that the process is gone.
    """

    def __init__(self, handler: str, limits: WorkerLimits) -> None:
        self.limits = limits
        self.job: int | None = None
        self.jobs_done = 0
        self.short = False
        self.starting = True
        self.dead = False
        self.deadline: float | None = time.monotonic() + limits.start_seconds
        self._inbox = b""
        self._outbox = memoryview(b"")
        settings = {
            "handler": handler,
            "memory_bytes": limits.memory_bytes,
            "wall_seconds": limits.wall_seconds,
            "parent": os.getpid(),
            # The kernel ties this signal to the *thread* that starts the worker, and threads come and go.
            "die_with_parent": threading.current_thread() is threading.main_thread(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rlsd_pl.verifiers.workers.worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.requests: IO[bytes] = self._process.stdin
        self.replies: IO[bytes] = self._process.stdout
        os.set_blocking(self.requests.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def idle(self) -> bool:
        return not self.starting and not self.dead and self.job is None

    def send(self, job: int, line: bytes, short: bool) -> None:
        """Take request ``job``; :meth:`feed` writes it."""
        self.job, self.short = job, short
        self._outbox = memoryview(line)
        self.deadline = time.monotonic() + (self.limits.short_seconds if short else self.limits.wall_seconds)

    def feed(self) -> bool:
        """Write what the pipe takes without blocking; True when nothing is left."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # a broken pipe shows as end of file in receive
            while self._outbox:
                written = os.write(self.requests.fileno(), self._outbox)
                self._outbox = self._outbox[written:]
            return True
        return False

    def receive(self) -> Reply | None:
        """Read once. ``None``: no line is complete yet, or the worker has just become ready."""
        chunk = os.read(self.replies.fileno(), _CHUNK)
        if not chunk:
            return self._gone()
        *lines, rest = (self._inbox + chunk).split(b"\n")
        self._inbox = rest if self.job is not None else rest[-_CHUNK:]
        if self.job is not None and max(map(len, (*lines, rest))) > self.limits.reply_bytes:
            return Reply(Outcome.OVERSIZED, detail=f"reply longer than {self.limits.reply_bytes} bytes")
        replies = [self._read(line) for line in lines]
        return next((reply for reply in replies if reply is not None), None)

    def _read(self, line: bytes) -> Reply | None:
        try:
            ((kind, content),) = json.loads(line).items()
        except (ValueError, AttributeError, RecursionError):  # an empty line, or one that a dying process began
            return None
        if kind == "ended":
            return self._ended(content)
        if self.starting and kind == "failed":
            return Reply(Outcome.FAILED, detail=str(content))
        if kind == "ready":
            self.starting, self.deadline = False, None
        if kind == "ready" or self.job is None:  # without a job: a reply that came too late
            return None
        self.job = self.deadline = None
        self.jobs_done += 1
        return Reply(Outcome(kind), value=content) if kind == "value" else Reply(Outcome(kind), detail=str(content))

    def _ended(self, code: int) -> Reply | None:
        """What served is gone: let the next one start, and say what became of the request in hand."""
        lost = self.job is not None
        self._start_anew()
        with contextlib.suppress(BrokenPipeError, BlockingIOError):  # then the deadline for the start ends the worker
            os.write(self.requests.fileno(), GO_ON)
        return _death(code) if lost else None

    def renew(self) -> None:
        """End what serves now, with all its processes, and let the next one start."""
        self._start_anew()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, END_SERVING)

    def _start_anew(self) -> None:
        self.job, self.jobs_done, self.starting = None, 0, True
        self._outbox = memoryview(b"")
        self.deadline = time.monotonic() + self.limits.start_seconds

    def _gone(self) -> Reply:
        self.dead = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        return _death(self._process.returncode)

    def kill(self) -> None:
        """Kill the process group and reap the worker."""
        self.dead = True
        self.job = None
        self.deadline = None
        # Not reaped yet, so the id cannot belong to another group.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self.requests, self.replies):
            with contextlib.suppress(OSError):
                pipe.close()


def _death(code: int | None) -> Reply:
    """Why a worker ended: some signals come from outside, other ends from the request."""
    outside = code is not None and -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, END_SERVING)
    return Reply(Outcome.KILLED if outside else Outcome.CRASHED, detail=f"worker ended with code {code}")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # A handler may live in any package that the parent can import.
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
