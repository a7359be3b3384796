"""What a process has used so far, read from ``/proc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Attributes:
    cpu_seconds: of all threads, in steps of 0.01 s.
    runnable: whether its first thread computes or waits for a CPU.
    threads: how many there are.
    resident_bytes: memory in use.
    """

    cpu_seconds: float = 0.0
    runnable: bool = False
    threads: int = 0
    resident_bytes: int = 0


def usage_of(pid: int) -> Usage:
    """What ``pid`` has used; nothing where it is gone or ``/proc`` does not show it."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return Usage()
    fields = line.rpartition(")")[2].split()  # a program may choose the name in front of this
    ticks, page = _units()
    return Usage((int(fields[11]) + int(fields[12])) / ticks, fields[0] == "R", int(fields[17]), int(fields[21]) * page)


def only_child(pid: int) -> int:
    """The first child of ``pid``, or ``pid`` itself where none is known."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return pid
    return int(children[0]) if children else pid


@cache
def _units() -> tuple[int, int]:
    return os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
