"""How a run is started: as a process of this machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rlsd_pl.commands.runs import LOG_FILE, RUN_DIR_VARIABLE
from rlsd_pl.commands.sweep.grid import Run
from rlsd_pl.persistence.checkpoints import saved
from rlsd_pl.persistence.lock import refuse_if_held

FIT = ("-m", "rlsd_pl.commands.fit")
"""Arguments of Python that start a run."""


class Child(Protocol):
    """A run that has been started."""

    def poll(self) -> int | None:
        """The exit status once it has left, negative for a signal; ``None`` before."""

    def interrupt(self) -> None:
        """Ask it to leave, as Ctrl-C does; finished iterations are on disk."""

    def end(self, seconds: float) -> None:
        """Wait so long for it to leave, then kill it."""


class Launcher(Protocol):
    """Starts runs."""

    def start(self, run: Run) -> Child:
        """Start it, or go on with it.

        Raises:
            ValueError: if another process is still writing the run.
        """
        ...


@dataclass(frozen=True)
class LocalLauncher:
    """Runs as processes of this machine.

    Attributes:
        flags: for ``fit.py``.
        jobs: that share the cores.
        program: arguments of Python that start a run.
    """

    flags: Sequence[str]
    jobs: int
    program: Sequence[str] = FIT

    def start(self, run: Run) -> LocalChild:
        run.folder.mkdir(parents=True, exist_ok=True)
        refuse_if_held(run.folder)
        with (run.folder / LOG_FILE).open("ab") as log:
            _lock(log.fileno(), run.folder)
            process = subprocess.Popen(
                [sys.executable, *self.program, *run_arguments(run, self.flags)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.jobs, os.environ),
                start_new_session=True,  # Ctrl-C is for the sweep alone, which passes it on
            )
        return LocalChild(process)


@dataclass(frozen=True)
class LocalChild:
    """A process in a group of its own."""

    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        return self.process.poll()

    def interrupt(self) -> None:
        self._signal(signal.SIGINT)

    def end(self, seconds: float) -> None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


def run_arguments(run: Run, flags: Sequence[str]) -> list[str]:
    """What ``fit`` is told: to begin the run, or to go on with it."""
    if not saved(run.folder / "checkpoints"):  # interrupted in its first iteration, or never started
        return [*fit_arguments(run, flags), "--run_dir", str(run.folder)]
    # Its own config.yaml holds all flags; giving them again would apply the ones that append twice.
    return ["--resume", str(run.folder)]


def fit_arguments(run: Run, flags: Sequence[str]) -> list[str]:
    """What ``fit`` is told of a run, its folder apart."""
    varied = [part for name, value in run.setting for part in (f"--{name}", value)]
    return ["--objective", run.objective, "--seed_everything", str(run.seed), *flags, *varied]


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
