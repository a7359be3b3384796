"""The child side of the worker pool: ``python -m rlsd_pl.verifiers.workers.worker SETTINGS``.

Loads the handler once and serves from a fork of itself, which reads one JSON request a line from standard input and
answers one JSON reply a line, until end of file. The parent ends that fork with :data:`END_SERVING`, sent to the
process group, and the next one starts within milliseconds: a request that is killed does not cost an import of sympy.
Light on purpose: it imports the handler's module and nothing of torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

try:
    import resource
except ImportError:  # no rlimits on this platform: the parent's wall clock is the only limit left
    resource = None

Handler = Callable[[dict[str, Any]], dict[str, Any]]

END_SERVING = signal.SIGUSR1
GO_ON = b"\0\n"
"""The parent's answer to ``ended``: all that it wrote before is of the past. No JSON line looks like this."""
_PR_SET_PDEATHSIG = 1
_CPU_GRACE_SECONDS = 2


def load_handler(path: str) -> Handler:
    """The function at ``package.module.function``."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process with the thread that started it (Linux; elsewhere end of file does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def limit_memory(size: int) -> None:
    """Cap the address space at ``size`` bytes, where the platform can."""
    if resource is not None:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
        except (ValueError, OSError):  # macOS refuses RLIMIT_AS
            return


def limit_cpu(seconds: float) -> None:
    """End this process after ``seconds`` more of CPU time: an orphan must not spin on when its parent is gone."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(usage.ru_utime + usage.ru_stime + seconds + _CPU_GRACE_SECONDS)
        with contextlib.suppress(ValueError, OSError):  # a handler that confined itself may not set limits any more
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def answer(handler: Handler, line: str) -> dict[str, Any]:
    """The reply to one request line: ``value``, or ``failed`` / ``memory`` with a reason."""
    try:
        return {"value": handler(json.loads(line))}
    except MemoryError:
        return {"memory": "MemoryError"}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:500]}


def serve(handler: Handler, requests: TextIO, replies: TextIO, wall_seconds: float) -> None:
    """Answer requests until end of file. Leaves after a memory failure: the heap may be half built."""
    say(replies, {"ready": True})
    for line in requests:
        limit_cpu(wall_seconds)
        reply = answer(handler, line)
        say(replies, reply)
        if "memory" in reply:
            return


def say(replies: TextIO, message: dict[str, Any]) -> None:
    """One line to the parent."""
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def serve_from_forks(handler: Handler, replies: TextIO, wall_seconds: float) -> None:
    """Serve in one fork after the other, until end of file; in this process where forks are not allowed."""
    origin = os.getpid()
    signal.signal(END_SERVING, signal.SIG_IGN)
    while True:
        try:
            child = os.fork()
        except OSError:  # the handler confined itself
            signal.signal(END_SERVING, signal.SIG_DFL)
            return serve(handler, sys.stdin, replies, wall_seconds)
        if child == 0:
            signal.signal(END_SERVING, signal.SIG_DFL)
            die_with_parent(origin)
            serve(handler, sys.stdin, replies, wall_seconds)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        replies.write("\n")  # the fork may have died within a line
        say(replies, {"ended": code})
        past = b""
        while not past.endswith(GO_ON):
            chunk = os.read(0, 1 << 16)
            if not chunk:
                return None
            past = past[-1:] + chunk


def main() -> None:
    """Take the settings from the command line, limit this process, load the handler, serve."""
    settings = json.loads(sys.argv[1])
    if settings["die_with_parent"]:
        die_with_parent(settings["parent"])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints must not be read as a reply.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    limit_memory(settings["memory_bytes"])
    try:
        handler = load_handler(settings["handler"])
    except Exception as error:
        return say(replies, {"failed": f"cannot load {settings['handler']}: {error!r}"[:500]})
    return serve_from_forks(handler, replies, settings["wall_seconds"])


if __name__ == "__main__":
    main()
