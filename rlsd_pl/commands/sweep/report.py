"""What a sweep says and leaves behind when its runs have come to their end."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from rlsd_pl.commands.runs import LOG_FILE, finished_iterations, read_history
from rlsd_pl.commands.sweep.axes import label
from rlsd_pl.commands.sweep.costs import COSTS, costs
from rlsd_pl.commands.sweep.grid import CHOOSING, REPORTED, RUNS, Grid, Run, objective_name
from rlsd_pl.commands.sweep.processes import Processes, State

if TYPE_CHECKING:
    from rlsd_pl.commands.sweep.results import FinishedRun

LOG_TAIL = 15
"""Lines of a failed run's log that are shown."""

FINAL = ("val/greedy_accuracy", "val/sampled_accuracy")


def report_failures(processes: Processes, console: Console) -> None:
    """The end of the log of each failed run."""
    for run in processes.having(State.FAILED):
        log = run.folder / LOG_FILE
        code = processes.exit_codes.get(run)
        tail = log.read_text(errors="replace").splitlines()[-LOG_TAIL:] if log.exists() else []
        cause = "earlier" if code is None else "left before its last iteration" if code == 0 else f"exit status {code}"
        console.print(f"\n[bold red]{run.name} failed[/]: {cause}; end of {log}:")
        console.print("\n".join(f"  {line}" for line in tail), markup=False, soft_wrap=True)


def compare(
    grid: Grid, processes: Processes, reported: Sequence[Run], at: Sequence[int], notes: Sequence[str], console: Console
) -> None:
    """Table and picture of the reported runs that have finished, and a line for each run of the sweep.

    Args:
        notes: on how their settings were chosen.
    """
    from rlsd_pl.commands.plots import plot_comparison
    from rlsd_pl.commands.sweep.results import FinishedRun, changes, figures, table, write_csv, write_markdown

    write_runs(grid, processes, reported)
    done = [run for run in reported if processes.states[run] is State.DONE]
    finished: dict[str, list[FinishedRun]] = {}
    for objective in grid.objectives:
        if runs := [FinishedRun.read(run.folder, run.seed) for run in done if run.objective == objective]:
            finished[objective_name(objective)] = runs
    for note in notes if not finished else ():
        console.print(note, markup=False, soft_wrap=True)
    if not finished:
        return
    found = figures(finished, at)
    lines = [*_notes(grid, finished), *notes]
    console.print("", table(found, finished), "\n".join(["", *lines]), soft_wrap=True)
    if (paired := changes(found, finished)) is not None:
        console.print("", paired, soft_wrap=True)
    write_csv(found, grid.folder / "results.csv")
    write_markdown(found, finished, lines, grid.folder / "results.md")
    plot_comparison(
        {name: [run.history for run in runs] for name, runs in finished.items()}, grid.folder / "learning_curves.png"
    )
    console.print(
        f"results.md, results.csv, runs.csv and learning_curves.png are in {grid.folder}; a page with everything: "
        f"rlsd-pl report {grid.folder}",
        soft_wrap=True,
    )


def write_runs(grid: Grid, processes: Processes, reported: Sequence[Run]) -> None:
    """``runs.csv``: each run with its setting, its folder, its final accuracy and what it has cost."""
    with (grid.folder / RUNS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["objective", "setting", "seed", "use", "state", "folder", "iterations", *FINAL, *COSTS])
        for run, state in processes.states.items():
            history = read_history(run.folder)
            last, spent = finished_iterations(history), costs(history)
            use = REPORTED if run in reported else CHOOSING
            row = [objective_name(run.objective), label(run.setting), run.seed, use, str(state)]
            row += [run.folder.relative_to(grid.folder).as_posix(), last]
            row += [history.get(key, {}).get(last, "") for key in FINAL]
            writer.writerow([*row, *(spent.get(name, "") for name in COSTS)])


def _notes(grid: Grid, finished: dict[str, list[FinishedRun]]) -> list[str]:
    lengths = sorted({run.iterations for runs in finished.values() for run in runs})
    notes = [
        f"Mean over seeds ± half-width of its 95 % t-interval, after iteration {', '.join(map(str, lengths))}; tokens, "
        "scored completions and seconds are those of a whole run.",
        f"Flags of fit: {' '.join(grid.flags) or '(none)'}.",
    ]
    if any("val/length" not in _evaluated_at_end(run) for runs in finished.values() for run in runs):
        notes.append(
            "Blank: no evaluation after the last iteration; let --trainer.check_val_every_n_epoch divide "
            "--trainer.max_epochs."
        )
    return notes


def _evaluated_at_end(run: FinishedRun) -> set[str]:
    return {key for key, series in run.history.items() if run.iterations in series}
