"""``rlsd-pl sweep``: parse, check before anything starts, run, tabulate."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from rich.console import Console

from rlsd_pl.commands.help import fail
from rlsd_pl.commands.presets import expand
from rlsd_pl.commands.runs import LOG_FILE
from rlsd_pl.commands.sweep.grid import Grid, objective_name
from rlsd_pl.commands.sweep.live import watch
from rlsd_pl.commands.sweep.processes import FIT, Processes, State, fit_arguments

if TYPE_CHECKING:
    from rlsd_pl.commands.sweep.results import FinishedRun

T = TypeVar("T")

LOG_TAIL = 15
"""Lines of a failed run's log that are shown."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}\nSee --help.")


def main(argv: Sequence[str]) -> int:
    """Sweep."""
    return sweep(argv)


def sweep(argv: Sequence[str], program: Sequence[str] = FIT) -> int:
    """Run a grid of ``program`` and compare its objectives.

    Returns:
        The exit status: 0 if all runs have finished, 1 if some failed, 130 if it was interrupted.
    """
    options, flags = _parser().parse_known_args(argv)
    grid_folder = options.sweep_dir or Path("sweeps") / time.strftime("%Y-%m-%d_%H-%M-%S")
    console = Console(highlight=False)
    try:
        grid = Grid(grid_folder, options.objectives, options.seeds, flags)
        check_flags(grid, program)
        grid.claim()
        processes = Processes(grid.runs, flags, options.jobs, program)
        console.print(f"{len(grid.runs)} runs, {len(processes.having(State.DONE))} of them finished; {grid.folder}")
        watch(processes, console)
    except (ValueError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command with --sweep_dir {grid_folder} goes on.")
        return 130
    _report_failures(processes, console)
    _compare(grid, processes, options.at, console)
    return 1 if processes.having(State.FAILED) else 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(allow_abbrev=False, add_help=False)
    parser.add_argument("--objectives", type=_list_of(str), required=True)
    parser.add_argument("--seeds", type=_list_of(int), default=[0, 1, 2])
    parser.add_argument("--jobs", type=_positive, default=1)
    parser.add_argument("--at", type=_list_of(_positive), default=[])
    parser.add_argument("--sweep_dir", type=Path)
    return parser


def _list_of(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    def parse(text: str) -> list[T]:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}; expected values joined by commas, as in 0,1,2") from None

    return parse


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number of at least 1")
    return int(text)


def check_flags(grid: Grid, program: Sequence[str] = FIT) -> None:
    """Let ``program`` parse each objective's flags without training, all at once.

    Raises:
        ValueError: with the first complaint.
    """
    firsts = {run.objective: run for run in reversed(grid.runs)}.values()
    for run in firsts:
        expand(fit_arguments(run, grid.flags))  # a misspelt preset needs no process to be found

    def complaint(arguments: list[str]) -> str:
        command = [sys.executable, *program, *arguments, "--print_config"]
        child = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        return child.stderr.strip() if child.returncode else ""

    with ThreadPoolExecutor() as pool:
        for run, text in zip(firsts, pool.map(complaint, [fit_arguments(r, grid.flags) for r in firsts]), strict=True):
            if text:
                raise ValueError(f"fit does not accept these flags for {run.objective}.\n{text}")


def _report_failures(processes: Processes, console: Console) -> None:
    for run in processes.having(State.FAILED):
        log = run.folder / LOG_FILE
        code = processes.exit_codes[run]
        tail = log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        cause = "left before its last iteration" if code == 0 else f"exit status {code}"
        console.print(f"\n[bold red]{objective_name(run.objective)} seed {run.seed} failed[/]: {cause}; end of {log}:")
        console.print("\n".join(f"  {line}" for line in tail), markup=False, soft_wrap=True)


def _compare(grid: Grid, processes: Processes, at: Sequence[int], console: Console) -> None:
    from rlsd_pl.commands.plots import plot_comparison
    from rlsd_pl.commands.sweep.results import FinishedRun, changes, figures, table, write_csv, write_markdown

    finished = {
        objective_name(objective): [
            FinishedRun.read(run.folder, run.seed) for run in processes.having(State.DONE) if run.objective == objective
        ]
        for objective in grid.objectives
    }
    finished = {name: runs for name, runs in finished.items() if runs}
    if not finished:
        return
    found = figures(finished, at)
    notes = _notes(grid, finished)
    console.print("", table(found, finished), "\n".join(["", *notes]), soft_wrap=True)
    if (paired := changes(found, finished)) is not None:
        console.print("", paired, soft_wrap=True)
    write_csv(found, grid.folder / "results.csv")
    write_markdown(found, finished, notes, grid.folder / "results.md")
    plot_comparison(
        {name: [run.history for run in runs] for name, runs in finished.items()}, grid.folder / "learning_curves.png"
    )
    console.print(
        f"results.md, results.csv and learning_curves.png are in {grid.folder}; a page with everything: "
        f"rlsd-pl report {grid.folder}",
        soft_wrap=True,
    )


def _notes(grid: Grid, finished: dict[str, list[FinishedRun]]) -> list[str]:
    lengths = sorted({run.iterations for runs in finished.values() for run in runs})
    notes = [
        f"Mean over seeds ± half-width of its 95 % t-interval, after iteration {', '.join(map(str, lengths))}.",
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
