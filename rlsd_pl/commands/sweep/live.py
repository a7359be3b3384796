"""A line per run, while they run."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from rlsd_pl.commands.runs import finished_iterations, planned_iterations, read_history
from rlsd_pl.commands.sweep.axes import label
from rlsd_pl.commands.sweep.grid import Run, objective_name
from rlsd_pl.commands.sweep.processes import Processes, State

COLOURS = {
    State.WAITING: "dim",
    State.RUNNING: "cyan",
    State.DONE: "green",
    State.FAILED: "bold red",
    State.PRUNED: "yellow",
}

SHOWN = {"reward": "rollout/reward", "greedy": "val/greedy_accuracy", "sampled": "val/sampled_accuracy"}
"""Column heads and the series whose newest value stands under them."""

POLL_SECONDS = 1.0


def watch(processes: Processes, console: Console, plan: Callable[[Processes], bool] = lambda processes: False) -> None:
    """Run all to their end and show how they do; whatever happens, no process is left behind.

    Args:
        plan: called between polls, to add and prune runs; returns whether there may be more to come.
    """
    view = View(processes)
    # Noted and acted on between polls: an exception raised from a handler can be lost in whatever it interrupts.
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with Live(view.table(), console=console, auto_refresh=False) as live:
            while (plan(processes) or processes.left) and not received:
                processes.advance()
                live.update(view.table(), refresh=console.is_terminal)
                time.sleep(POLL_SECONDS)
            live.update(view.table(), refresh=True)
    finally:
        processes.stop()
        signal.signal(signal.SIGTERM, before)
    if received:
        sys.exit(128 + signal.SIGTERM)


@dataclass(frozen=True)
class Progress:
    """How far a run is; ``planned`` is None until it has recorded something."""

    finished: int
    planned: int | None
    newest: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Progress:
        """From the run's CSV."""
        history = read_history(folder)
        planned = planned_iterations(folder) if history else None
        newest = {head: history[key][max(history[key])] for head, key in SHOWN.items() if key in history}
        return cls(finished_iterations(history), planned, newest)


class View:
    """The table of all runs."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._read: dict[Run, tuple[State, Progress]] = {}

    def table(self) -> Table:
        """As things stand."""
        varied = ["setting"] if any(run.setting for run in self.processes.states) else []
        table = Table("objective", *varied, "seed", "state", "iteration", "", *SHOWN, box=None)
        for run, state in self.processes.states.items():
            progress = self._progress(run, state)
            count = f"{progress.finished} of {progress.planned}" if progress.planned else ""
            bar = ProgressBar(progress.planned or 1, progress.finished, width=20)
            newest = [f"{progress.newest[head]:.3f}" if head in progress.newest else "" for head in SHOWN]
            head = [objective_name(run.objective), *([label(run.setting)] if varied else []), str(run.seed)]
            table.add_row(*head, f"[{COLOURS[state]}]{state}[/]", count, bar, *newest)
        return table

    def _progress(self, run: Run, state: State) -> Progress:
        # A run that stands still is read once.
        known, progress = self._read.get(run, (None, None))
        if progress is None or state is State.RUNNING or known is not state:
            progress = Progress.read(run.folder)
            self._read[run] = state, progress
        return progress
