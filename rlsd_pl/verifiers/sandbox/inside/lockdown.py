"""The trusted first stage: a fresh interpreter gives up everything before any foreign code runs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from . import landlock, seccomp, syscalls, view

_PR_SET_PDEATHSIG = 1
_HIGHEST_DESCRIPTOR = 1 << 16
_CAPABILITY_VERSION_3 = 0x20080522
_THREAD_STACK_BYTES = 2 << 20
_M_ARENA_MAX = -8


def settings() -> dict[str, Any]:
    """What the launcher put into ``argv[1]``."""
    return json.loads(sys.argv[1])


def enter(keep: Sequence[int] = ()) -> None:
    """:func:`close_inherited`, then :func:`confine`. Call it once, after every import, before any foreign code."""
    close_inherited(keep)
    confine()


def close_inherited(keep: Sequence[int] = ()) -> None:
    """Close all descriptors above 2 except the settings' own and ``keep``."""
    start = 3
    for descriptor in sorted([*settings()["keep"], *keep]):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, _HIGHEST_DESCRIPTOR)


def confine() -> None:
    """Apply what :func:`settings` asks for; raises OSError if a required part fails."""
    chosen = settings()
    _spare_address_space()
    if chosen["hide"]:
        with contextlib.suppress(OSError):  # the self-test notes it; Landlock still guards what is in the files
            view.restrict(chosen["readable"])
    os.umask(0o077)
    _drop_privileges(chosen["uid"])
    _die_with(chosen["parent"])
    _limit(chosen)
    if chosen["landlock"]:
        landlock.restrict(chosen["readable"])
    try:
        seccomp.load()
    except OSError:
        if chosen["seccomp_required"]:
            raise
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _spare_address_space() -> None:
    """Small stacks and one heap for all threads: else 16 threads reserve more address space than memory_bytes."""
    threading.stack_size(_THREAD_STACK_BYTES)
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _drop_privileges(uid: int | None) -> None:
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    else:  # user 0, or any user within a namespace of its own
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        nothing = (ctypes.c_uint32 * 6)()
        syscalls.syscall(syscalls.CAPSET[syscalls.architecture()], header, nothing)


def _die_with(parent: int | None) -> None:
    """Tie this process to its parent. A change of user clears the tie, so this comes after it."""
    if parent is None:
        return
    syscalls.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def _limit(chosen: dict[str, Any]) -> None:
    cpu = chosen["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, chosen["memory_bytes"], chosen["memory_bytes"]),
        (resource.RLIMIT_FSIZE, chosen["file_bytes"], chosen["file_bytes"]),
        (resource.RLIMIT_NOFILE, chosen["open_files"], chosen["open_files"]),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))
