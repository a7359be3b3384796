"""Finds the strongest level that really holds on this machine, by attacking it."""

from __future__ import annotations

import compileall
import json
import logging
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from rlsd_pl.verifiers.sandbox import interpreter
from rlsd_pl.verifiers.sandbox.limits import Limits
from rlsd_pl.verifiers.sandbox.runner import run
from rlsd_pl.verifiers.sandbox.runs import Finished, Run
from rlsd_pl.verifiers.sandbox.sandbox import INSIDE, Level, Sandbox, SandboxUnavailableError

_log = logging.getLogger(__name__)
_LIMITS = Limits(cpu_seconds=2, wall_seconds=10.0, memory_bytes=256 << 20)
_KILL_S = 5.0
_WEAK_GUARANTEES = frozenset({"lockdown", "works", "environment", "memory"})
"""All that L1 promises; L2 and L3 must stop every attack."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the self-test found.

    Attributes:
        level: the strongest level whose probes all held.
        refused: for each stronger level, why it does not hold here.
        notes: facts that a reader of the logs should know.
    """

    level: Level
    refused: Mapping[Level, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for logs and errors."""
        reasons = [f"{level.name} refused: {reason}" for level, reason in self.refused.items()]
        return "; ".join([f"sandbox level {self.level.name}", *reasons, *self.notes])


def open_sandbox(minimum: Level = Level.L2, limits: Limits | None = None) -> Sandbox:
    """A sandbox at the strongest level of this machine; raises :class:`SandboxUnavailableError` below ``minimum``."""
    isolation = detect()
    if isolation.level < max(minimum, Level.L1):
        raise SandboxUnavailableError(
            f"got {isolation.describe()}; expected at least {minimum.name}. Install bubblewrap, or run on a kernel "
            f"with Landlock (5.13 or newer) and seccomp; or set minimum_level={Level.L1.name} to accept rlimits only, "
            f"where foreign code can read files and reach the network"
        )
    return Sandbox(isolation.level, limits or Limits())


@cache
def detect() -> Isolation:
    """The isolation of this machine, tested once per process and logged."""
    refused: dict[Level, str] = {}
    level, notes = Level.L0, list[str]()
    compileall.compile_dir(INSIDE, quiet=2)  # a third of a run's start; where the folder is read-only, never mind
    if sys.platform != "linux":
        refused[Level.L1] = f"the platform is {sys.platform}, the sandbox needs Linux"
    else:
        for candidate in (Level.L3, Level.L2, Level.L1):
            reason = failure(candidate, notes)
            if reason is None:
                level = candidate
                break
            refused[candidate] = reason
    isolation = Isolation(level, refused, (*notes, *_notes(level)))
    _log.log(logging.INFO if level >= Level.L2 else logging.WARNING, isolation.describe())
    return isolation


def _notes(level: Level) -> tuple[str, ...]:
    closed = interpreter.find().closed_folder() if level in (Level.L1, Level.L2) and os.geteuid() == 0 else None
    if closed is None:
        return ()
    return (
        f"foreign code keeps user 0 without capabilities, because {closed} is closed to other users and the "
        f"interpreter lies beneath it",
    )


def failure(level: Level, notes: list[str] | None = None) -> str | None:
    """Why ``level`` does not hold here, or ``None`` if every probe was stopped; ``notes`` takes what it leaves open."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stderr:
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        os.chmod(folder, 0o755)
        with _listener(socket.SOCK_STREAM) as tcp, _listener(socket.SOCK_DGRAM) as udp:
            targets = {
                "secret": str(secret),
                "new_file": str(Path(folder) / "new"),
                "tcp": tcp.getsockname()[1],
                "udp": udp.getsockname()[1],
                "parent": os.getpid(),
                "memory_bytes": 2 * _LIMITS.memory_bytes,
            }
            started = time.monotonic()
            request = Run("probes", json.dumps(targets).encode() + b"\n", one_line=True)
            finished = run(request, Sandbox(level, _LIMITS), stderr.fileno())
            if time.monotonic() - started > _LIMITS.wall_seconds + _KILL_S:
                return "the probe could not be killed in time"
            heard = bool(select.select([tcp, udp], [], [], 0)[0])
        wrote = Path(targets["new_file"]).exists()
        return _judge(level, finished, heard, wrote, stderr, [] if notes is None else notes)


def _judge(
    level: Level, finished: Finished, heard: bool, wrote: bool, stderr: IO[bytes], notes: list[str]
) -> str | None:
    try:
        report: dict[str, Any] = json.loads(finished.output)
    except ValueError:
        stderr.seek(0)
        lines = stderr.read().decode(errors="replace").strip().splitlines()
        reason = finished.message or (lines[-1] if lines else finished.stop.value)
        return f"the interpreter did not run: {reason}"
    if level >= Level.L2:
        report["network"] = "a packet arrived" if heard else None
        report["created"] = "a file appeared" if wrote else None
        if level is Level.L2 and report.pop("see_outside") is not None:
            notes.append("foreign code may ask whether files exist, because it gets no mount namespace")
    else:
        report = {name: found for name, found in report.items() if name in _WEAK_GUARANTEES}
    open_doors = [f"{name}: {found}" for name, found in report.items() if found is not None]
    return ", ".join(open_doors) or None


def _listener(kind: socket.SocketKind) -> socket.socket:
    """A loopback socket; it is readable once anything has reached it."""
    listener = socket.socket(socket.AF_INET, kind)
    listener.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        listener.listen(1)
    return listener
