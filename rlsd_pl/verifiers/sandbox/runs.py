"""What is asked of the runner, and what it answers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Stop(StrEnum):
    """Why a run is over."""

    ENDED = "ended"
    WALL = "wall_clock"
    OUTPUT = "output_size"
    CPU = "cpu_time"
    MEMORY = "memory"
    THREADS = "threads"
    KILLED = "killed"
    NOT_STARTED = "not_started"


@dataclass(frozen=True, slots=True)
class Run:
    """One program, or two that talk.

    Attributes:
        program: module of ``inside/`` whose stdout the parent reads.
        input: bytes for its stdin.
        companion: module of ``inside/`` that serves it: the program gets the write end of the companion's stdin and
            the read end of its stdout as the two descriptors ``keep`` of its settings.
        files: what the program may open before it is confined.
        one_line: over after the first line of output; the end of the stream is not waited for.
    """

    program: str
    input: bytes = b""
    companion: str | None = None
    files: Sequence[Path] = ()
    one_line: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a run.

    Attributes:
        stop: why it is over.
        output: the program's stdout, at most ``limits.output_bytes``.
        signal: signal that ended the program, if one did before the parent's own kill.
        companion_signal: the same for the companion.
        seconds: from start to end.
        message: what went wrong where ``stop`` is ``not_started``; which limit it was where that was shortened.
    """

    stop: Stop
    output: bytes = b""
    signal: int | None = None
    companion_signal: int | None = None
    seconds: float = 0.0
    message: str = ""


Job = Generator[Run, Finished, T]
"""Yields runs, is sent what became of each, and returns its result."""
