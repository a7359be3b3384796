"""Runs as processes: some at a time, resumed where they were interrupted, none started twice."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from rlsd_pl.commands.runs import LOG_FILE, RUN_DIR_VARIABLE, is_finished
from rlsd_pl.commands.sweep.grid import Run
from rlsd_pl.persistence.checkpoints import saved
from rlsd_pl.persistence.lock import refuse_if_held

FIT = ("-m", "rlsd_pl.commands.fit")
"""Arguments of Python that start a run."""

GRACE_SECONDS = 20.0
"""For an interrupted run to leave by itself before it is killed."""


class State(StrEnum):
    """Of one run."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Processes:
    """Starts the runs of a grid in order, ``jobs`` at a time; those that have finished before are done at once.

    A run is finished when its folder says so: after the last iteration that its own ``config.yaml`` plans, and its
    export, whoever started the run.

    Attributes:
        states: of every run.
        exit_codes: of the processes that have left; negative for a signal.
    """

    def __init__(self, runs: Sequence[Run], flags: Sequence[str], jobs: int, program: Sequence[str] = FIT) -> None:
        self.flags, self.jobs, self.program = flags, jobs, program
        self.states = {run: State.DONE if is_finished(run.folder) else State.WAITING for run in runs}
        self.exit_codes: dict[Run, int] = {}
        self._processes: dict[Run, subprocess.Popen[bytes]] = {}

    def having(self, state: State) -> list[Run]:
        """Runs in this state."""
        return [run for run, current in self.states.items() if current is state]

    @property
    def left(self) -> bool:
        """True while a run waits or goes on."""
        return bool(self.having(State.WAITING) or self._processes)

    def advance(self) -> None:
        """Take note of processes that have left, and start waiting runs in their place."""
        for run, process in list(self._processes.items()):
            if (code := process.poll()) is not None:
                del self._processes[run]
                self.exit_codes[run] = code
                self.states[run] = State.DONE if code == 0 and is_finished(run.folder) else State.FAILED
        for run in self.having(State.WAITING)[: self.jobs - len(self._processes)]:
            self._processes[run] = self._start(run)
            self.states[run] = State.RUNNING

    def stop(self) -> None:
        """Interrupt what is running, as Ctrl-C does, and wait for it; finished iterations are on disk."""
        for process in self._processes.values():
            _signal_group(process, signal.SIGINT)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()

    def _start(self, run: Run) -> subprocess.Popen[bytes]:
        run.folder.mkdir(parents=True, exist_ok=True)
        refuse_if_held(run.folder)
        with (run.folder / LOG_FILE).open("ab") as log:
            _lock(log.fileno(), run.folder)
            return subprocess.Popen(
                [sys.executable, *self.program, *self._arguments(run)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.jobs, os.environ),
                start_new_session=True,  # Ctrl-C is for the sweep alone, which passes it on
            )

    def _arguments(self, run: Run) -> list[str]:
        if not saved(run.folder / "checkpoints"):  # interrupted in its first iteration, or never started
            return [*fit_arguments(run, self.flags), "--run_dir", str(run.folder)]
        # Its own config.yaml holds all flags; giving them again would apply the ones that append twice.
        return ["--resume", str(run.folder)]


def fit_arguments(run: Run, flags: Sequence[str]) -> list[str]:
    """What ``fit`` is told of a run, its folder apart."""
    return ["--objective", run.objective, "--seed_everything", str(run.seed), *flags]


def environment(jobs: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """A child's environment.

    Each child would start one thread per core and they would fight over the cores, so each gets its share of them. An
    OMP_NUM_THREADS that the user has set stays.
    """
    share = max(1, (os.cpu_count() or 1) // jobs)
    kept = {name: value for name, value in inherited.items() if name != RUN_DIR_VARIABLE}
    return {"OMP_NUM_THREADS": str(share), **kept}


def _lock(log: int, folder: Path) -> None:
    # The lock belongs to the open file that the child has as its output: it lasts exactly as long as the child, even
    # when the sweep is killed and the child is not.
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"Another process is still writing the run in {folder}. Wait for it or stop it, then call again."
        ) from None


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)
