"""A run in progress: its processes, its pipes, the parent's clock and byte cap."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time

from rlsd_pl.verifiers.sandbox.limits import ShortLimits
from rlsd_pl.verifiers.sandbox.process import Process
from rlsd_pl.verifiers.sandbox.runs import Finished, Run, Stop
from rlsd_pl.verifiers.sandbox.sandbox import Sandbox

_CHUNK = 1 << 16
_EXIT_GRACE_S = 0.05
_POLL_S = 0.002
_SAMPLE_S = 0.1
_IDLE_SHARE = 0.2
"""Who uses less of a CPU than this waits."""
_MAX_THREADS = 256
_HEAVY = 0.8
"""A share of a limit that counts as having reached it: what a bomb takes before it sees the limit itself."""
_RESOURCE_SIGNALS = frozenset({signal.SIGXCPU, signal.SIGKILL})


class ActiveRun:
    """Starts a run and follows it; raises OSError or SandboxUnavailableError if it cannot be started.

    Its descriptors are registered with ``selector``; the data of each key is the function to call when it is ready.
    ``short`` limits, where given, end it before those of the sandbox do.

    Attributes:
        request: what runs.
        short: those limits, or ``None``.
        cpu_seconds, idle_seconds: CPU time so far, and time in which none of its processes wanted a CPU.
        resident_bytes: memory of its processes now.
        waits: whether it has been idle since it was last looked at.
    """

    def __init__(
        self,
        request: Run,
        sandbox: Sandbox,
        selector: selectors.BaseSelector,
        stderr: int,
        short: ShortLimits | None = None,
    ) -> None:
        self.request, self.short = request, short
        self.cpu_seconds, self.idle_seconds, self.resident_bytes, self.waits = 0.0, 0.0, 0, False
        self._begun = self._sampled = time.monotonic()
        self._limits, self._peak_bytes = sandbox.limits, 0
        self._selector = selector
        self._pending = memoryview(request.input)
        self._output = bytearray()
        self._one_line = request.one_line
        self._stop: Stop | None = None
        self._deadline = self._begun + sandbox.limits.wall_seconds
        self._companion: Process | None = None
        with contextlib.ExitStack() as handed_over:
            keep: tuple[int, ...] = ()
            if request.companion is not None:
                keep = self._start_companion(request.companion, sandbox, handed_over)
            self._start(request, sandbox, keep, stderr, handed_over)

    def _start_companion(self, program: str, sandbox: Sandbox, handed_over: contextlib.ExitStack) -> tuple[int, int]:
        requests, to_companion = _pipe(handed_over)
        from_companion, replies = _pipe(handed_over)
        self._companion = Process(sandbox, program, stdin=requests, stdout=replies)
        return to_companion, from_companion

    def _start(
        self, request: Run, sandbox: Sandbox, keep: tuple[int, ...], stderr: int, handed_over: contextlib.ExitStack
    ) -> None:
        with contextlib.ExitStack() as on_failure:
            if self._companion is not None:
                on_failure.callback(self._companion.end)
            stdin, self._stdin = os.pipe()
            handed_over.callback(os.close, stdin)
            on_failure.callback(os.close, self._stdin)
            self._stdout, stdout = os.pipe()
            handed_over.callback(os.close, stdout)
            on_failure.callback(os.close, self._stdout)
            self._program = Process(
                sandbox, request.program, stdin=stdin, stdout=stdout, stderr=stderr, keep=keep, files=request.files
            )
            on_failure.pop_all()
        for descriptor, event, react in (
            (self._stdin, selectors.EVENT_WRITE, self._write),
            (self._stdout, selectors.EVENT_READ, self._read),
        ):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, event, react)

    def wake_at(self) -> float:
        """When this run wants to be looked at, whether or not a descriptor is ready."""
        if self._stop is not None:
            return time.monotonic() + _POLL_S
        return min(self._deadline, self._sampled + _SAMPLE_S)

    def finished(self) -> Finished | None:
        """The outcome once it is known; by then nothing of the run is left."""
        now = time.monotonic()
        if self._stop is None and now >= self._deadline:
            self.end(Stop.WALL)
        if self._stop is None and now >= self._sampled + _SAMPLE_S:
            self._sample(now)
        if self._stop is None:
            return None
        if now < self._deadline and not all(process.exited() for process in self._processes):
            return None
        # read before the kill, whose own signal says nothing
        signals = [process.signal if process.exited() else None for process in self._processes]
        self.close()
        companion = signals[1] if len(signals) > 1 else None
        return Finished(self._stop, bytes(self._output), signals[0], companion, now - self._begun)

    @property
    def _processes(self) -> list[Process]:
        return [process for process in (self._program, self._companion) if process is not None]

    def _sample(self, now: float) -> None:
        """Look at what the processes use: the limits that no rlimit keeps, and whether they wait."""
        found = [process.usage() for process in self._processes]
        cpu, elapsed = sum(usage.cpu_seconds for usage in found), now - self._sampled
        self.waits = not any(usage.runnable for usage in found) and cpu - self.cpu_seconds < _IDLE_SHARE * elapsed
        self.idle_seconds += elapsed if self.waits else 0.0
        self.cpu_seconds, self._sampled = max(cpu, self.cpu_seconds), now
        self.resident_bytes = sum(usage.resident_bytes for usage in found)
        self._peak_bytes = max(self._peak_bytes, *(usage.resident_bytes for usage in found))
        if max(usage.threads for usage in found) > _MAX_THREADS:
            self.end(Stop.THREADS)
        elif self.short is not None and self.cpu_seconds > self.short.cpu_seconds:
            self.end(Stop.CPU)
        elif self.short is not None and self.idle_seconds > self.short.idle_seconds:
            self.end(Stop.WALL)

    def at_limit(self, finished: Finished) -> bool:
        """Whether this run, now ``finished``, took all it could get."""
        signals = {finished.signal, finished.companion_signal}
        return (
            finished.stop is not Stop.ENDED
            or bool(signals & _RESOURCE_SIGNALS)
            or self.cpu_seconds > _HEAVY * self._limits.cpu_seconds
            or self._peak_bytes > _HEAVY * self._limits.memory_bytes
        )

    def close(self) -> None:
        """Kill, reap, and close every descriptor."""
        self._close_stdin()
        self._close_stdout()
        for process in self._processes:
            process.end()

    def end(self, stop: Stop) -> None:
        """The outcome is decided; an orderly exit gets a short grace so that its signal can be read."""
        self._stop = stop
        grace = _EXIT_GRACE_S if stop is Stop.ENDED else 0.0
        self._deadline = min(self._deadline, time.monotonic() + grace)
        self._close_stdin()
        self._close_stdout()

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._stdin, self._pending[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            self._pending = memoryview(b"")
        if not self._pending:
            self._close_stdin()

    def _read(self) -> None:
        try:
            chunk = os.read(self._stdout, _CHUNK)
        except BlockingIOError:
            return
        self._output += chunk
        if not chunk or (self._one_line and b"\n" in chunk):
            self.end(Stop.ENDED)
        elif len(self._output) > self._limits.output_bytes:
            del self._output[self._limits.output_bytes :]
            self.end(Stop.OUTPUT)

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            self._selector.unregister(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    def _close_stdout(self) -> None:
        if self._stdout >= 0:
            self._selector.unregister(self._stdout)
            os.close(self._stdout)
            self._stdout = -1


def _pipe(handed_over: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose two ends are closed here once the children have them."""
    reader, writer = os.pipe()
    handed_over.callback(os.close, reader)
    handed_over.callback(os.close, writer)
    return reader, writer
