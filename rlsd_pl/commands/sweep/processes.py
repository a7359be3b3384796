"""Runs on their way: some at a time, resumed where they were interrupted, none started twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum

from rlsd_pl.commands.runs import is_finished
from rlsd_pl.commands.sweep.grid import Run
from rlsd_pl.commands.sweep.launch import Child, Launcher

GRACE_SECONDS = 20.0
"""For an interrupted run to leave by itself before it is killed."""


class State(StrEnum):
    """Of one run."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    PRUNED = "pruned"


class Processes:
    """Starts runs in order, ``jobs`` at a time; those that have finished before are done at once.

    A run is finished when its folder says so: after the last iteration that its own ``config.yaml`` plans, and its
    export, whoever started the run.

    Attributes:
        states: of every run.
        exit_codes: of the processes that have left; negative for a signal.
    """

    def __init__(self, runs: Sequence[Run], launcher: Launcher, jobs: int) -> None:
        self.launcher, self.jobs = launcher, jobs
        self.states: dict[Run, State] = {}
        self.exit_codes: dict[Run, int] = {}
        self._children: dict[Run, Child] = {}
        self.add(runs)

    def add(self, runs: Sequence[Run], unfinished: State = State.WAITING) -> None:
        """Further runs; those that are there stay as they are.

        Args:
            unfinished: the state of those that have not finished.
        """
        for run in runs:
            if run not in self.states:
                self.states[run] = State.DONE if is_finished(run.folder) else unfinished

    def having(self, state: State) -> list[Run]:
        """Runs in this state."""
        return [run for run, current in self.states.items() if current is state]

    @property
    def left(self) -> bool:
        """True while a run waits or goes on."""
        return bool(self.having(State.WAITING) or self._children)

    @property
    def idle(self) -> bool:
        """True while more runs could go on at the same time than there are."""
        return len(self.having(State.WAITING)) + len(self._children) < self.jobs

    def advance(self) -> None:
        """Take note of processes that have left, and start waiting runs in their place."""
        for run, child in list(self._children.items()):
            if (code := child.poll()) is not None:
                del self._children[run]
                self.exit_codes[run] = code
                self.states[run] = State.DONE if code == 0 and is_finished(run.folder) else State.FAILED
        for run in self.having(State.WAITING)[: self.jobs - len(self._children)]:
            self._children[run] = self.launcher.start(run)
            self.states[run] = State.RUNNING

    def prune(self, runs: Sequence[Run]) -> None:
        """End those of the runs that wait or go on: nobody needs the rest of them."""
        left = [run for run in runs if self.states[run] in (State.WAITING, State.RUNNING)]
        _end([self._children.pop(run) for run in left if run in self._children])
        self.states |= dict.fromkeys(left, State.PRUNED)

    def stop(self) -> None:
        """Interrupt what is running, as Ctrl-C does, and wait for it; finished iterations are on disk."""
        _end(list(self._children.values()))


def _end(children: Sequence[Child]) -> None:
    for child in children:
        child.interrupt()
    deadline = time.monotonic() + GRACE_SECONDS
    for child in children:
        child.end(max(0.0, deadline - time.monotonic()))
