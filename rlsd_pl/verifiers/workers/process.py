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
        batch_seconds: time for one call of ``map``; requests that have not begun by then fail, unjudged.
    """

    wall_seconds: float = 2.0
    memory_bytes: int = 1 << 30
    request_bytes: int = 1 << 20
    reply_bytes: int = 1 << 16
    jobs_per_worker: int = 1000
    start_seconds: float = 60.0
    batch_seconds: float = 300.0


class WorkerProcess:
    """A started worker. ``job`` is the number of the request in hand; ``deadline`` is on the monotonic clock."""

    def __init__(self, handler: str, limits: WorkerLimits) -> None:
        self.limits = limits
        self.job: int | None = None
        self.jobs_done = 0
        self.starting = True
        self.dead = False
        self.deadline: float | None = time.monotonic() + limits.start_seconds
        self._inbox = bytearray()
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

    def send(self, job: int, line: bytes) -> None:
        """Take request ``job``; :meth:`feed` writes it."""
        self.job = job
        self._outbox = memoryview(line)
        self.deadline = time.monotonic() + self.limits.wall_seconds

    def feed(self) -> bool:
        """Write what the pipe takes without blocking; True when nothing is left."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # a broken pipe shows as end of file in receive
            while self._outbox:
                written = os.write(self.requests.fileno(), self._outbox)
                self._outbox = self._outbox[written:]
            return True
        return False

    def receive(self) -> Reply | None:
        """Read once. ``None``: the line is not complete yet, or the worker has just become ready."""
        chunk = os.read(self.replies.fileno(), _CHUNK)
        if not chunk:
            return self._ended()
        self._inbox += chunk
        if len(self._inbox) > self.limits.reply_bytes:
            return Reply(Outcome.OVERSIZED, detail=f"reply longer than {self.limits.reply_bytes} bytes")
        if not self._inbox.endswith(b"\n"):
            return None
        line = bytes(self._inbox)
        self._inbox.clear()
        self.deadline = None
        return self._read_reply(line)

    def _read_reply(self, line: bytes) -> Reply | None:
        try:
            message = json.loads(line)
            (kind,) = message
        except (ValueError, TypeError, RecursionError):
            return Reply(Outcome.CRASHED, detail="reply is not one JSON object of one key")
        if self.starting:
            self.starting = kind != "ready"
            return Reply(Outcome.FAILED, detail=str(message[kind])) if self.starting else None
        self.job = None
        self.jobs_done += 1
        if kind == "value":
            return Reply(Outcome.VALUE, value=message["value"])
        return Reply(Outcome(kind), detail=str(message[kind]))

    def _ended(self) -> Reply:
        """The worker closed its pipe: say why. SIGKILL and SIGTERM come from outside, other ends from the request."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        code = self._process.returncode
        outside = code is not None and -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        return Reply(Outcome.KILLED if outside else Outcome.CRASHED, detail=f"worker ended with code {code}")

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


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # A handler may live in any package that the parent can import.
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
