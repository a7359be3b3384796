"""One sandboxed process: start, measure, kill with all that it started, reap."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rlsd_pl.verifiers.sandbox.sandbox import Level, Sandbox
from rlsd_pl.verifiers.sandbox.usage import Usage, only_child, usage_of

_REAP_S = 2.0
_INFO_BYTES = 4096


class Process:
    """A program of ``inside/`` as a child of this process. Raises OSError if it cannot be started."""

    def __init__(
        self,
        sandbox: Sandbox,
        program: str,
        *,
        stdin: int,
        stdout: int,
        stderr: int = subprocess.DEVNULL,
        keep: Sequence[int] = (),
        files: Sequence[Path] = (),
    ) -> None:
        self._namespaced = sandbox.level is Level.L3
        self._info: int | None = None
        self._inner: int | None = None
        info_fd: int | None = None
        if self._namespaced:
            self._info, info_fd = os.pipe()
            os.set_blocking(self._info, False)
        try:
            arguments, pass_fds = sandbox.command(program, keep=keep, files=files, info_fd=info_fd)
            self._popen = subprocess.Popen(
                arguments,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._close_info()
            raise
        finally:
            if info_fd is not None:
                os.close(info_fd)

    def exited(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self._popen.poll() is not None

    def usage(self) -> Usage:
        """What it has used so far; nothing once it has ended."""
        if not self._namespaced:
            return usage_of(self._popen.pid)
        inner = self._namespace_init()
        return Usage() if inner is None else usage_of(only_child(inner))

    @property
    def signal(self) -> int | None:
        """The signal that ended it, ``None`` for an ordinary exit or while it runs."""
        code = self._popen.returncode
        if code is None:
            return None
        if self._namespaced and code - 128 in _SIGNALS:  # bubblewrap reports its child's signal as a shell does
            return code - 128
        return -code if code < 0 else None

    def end(self) -> None:
        """Kill it if it lives, with its whole group or namespace, and reap it."""
        if not self.exited():
            inner = self._namespace_init()
            if inner is not None:
                # bubblewrap itself must live to reap its child; it ends right after
                _kill(inner)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(_REAP_S)
        if not self.exited():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_REAP_S)
        self._close_info()

    def _namespace_init(self) -> int | None:
        """Process id of bubblewrap's child, the init of the namespace, seen from here."""
        if self._inner is None and self._info is not None:
            with contextlib.suppress(BlockingIOError, ValueError, KeyError):
                self._inner = int(json.loads(os.read(self._info, _INFO_BYTES))["child-pid"])
        return self._inner

    def _close_info(self) -> None:
        if self._info is not None:
            os.close(self._info)
            self._info = None


_SIGNALS = range(1, 32)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
