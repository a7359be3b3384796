"""``rlsd-pl sweep``: parse, check before anything starts, choose settings, run, tabulate."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rich.console import Console

from rlsd_pl.commands.help import fail
from rlsd_pl.commands.sweep import cluster, selection
from rlsd_pl.commands.sweep.axes import Setting, take_axes
from rlsd_pl.commands.sweep.flags import check_flags
from rlsd_pl.commands.sweep.grid import Grid
from rlsd_pl.commands.sweep.launch import FIT, Launcher, LocalLauncher
from rlsd_pl.commands.sweep.live import watch
from rlsd_pl.commands.sweep.processes import Processes, State
from rlsd_pl.commands.sweep.report import compare, report_failures

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}\nSee --help.")


def main(argv: Sequence[str]) -> int:
    """Sweep."""
    return sweep(argv)


def sweep(argv: Sequence[str], program: Sequence[str] = FIT) -> int:
    """Run a grid of ``program`` and compare its objectives, each at its own best setting.

    Returns:
        The exit status: 0 if all reported runs have finished, 1 if some failed or an objective has no setting that
        finished, 130 if it was interrupted.
    """
    options, flags = _parser().parse_known_args(argv)
    grid_folder = options.sweep_dir or Path("sweeps") / time.strftime("%Y-%m-%d_%H-%M-%S")
    console = Console(highlight=False)
    try:
        parameters, flags = cluster.take_parameters(flags)
        axes, flags = take_axes(flags, ranges=options.optuna is not None)
        grid = Grid(grid_folder, options.objectives, options.seeds, flags, axes, options.select_seeds)
        _check_tuning(grid, options)
        cluster.check(options.cluster, parameters)
        check_flags(grid, program)
        grid.claim(argv)
        processes = Processes([], _launcher(options, grid, parameters, program), options.jobs)
        notes: list[str] = []
        chosen: dict[str, Setting] = dict.fromkeys(grid.objectives, ())
        if grid.axes:
            chosen, notes = _select(grid, processes, options, console)
        reported = grid.reported(chosen)
        processes.add(reported)
        done = sum(processes.states[run] is State.DONE for run in reported)
        console.print(f"{len(reported)} runs, {done} of them finished; {grid.folder}")
        watch(processes, console)
    except (ValueError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command with --sweep_dir {grid_folder} goes on.")
        return 130
    report_failures(processes, console)
    compare(grid, processes, reported, options.at, notes, console)
    finished = all(processes.states[run] is State.DONE for run in reported)
    return 0 if finished and len(chosen) == len(grid.objectives) else 1


def _select(
    grid: Grid, processes: Processes, options: argparse.Namespace, console: Console
) -> tuple[dict[str, Setting], list[str]]:
    """Run settings on the seeds that they are chosen on; each objective's own best, and notes on it."""
    if options.optuna is None:
        processes.add(grid.candidates())
        console.print(f"{len(processes.states)} runs to choose settings on; {grid.folder}")
        watch(processes, console)
    else:
        from rlsd_pl.commands.sweep.tuning import Tuner

        console.print(f"{options.optuna} trials of each objective to choose settings on; {grid.folder}")
        watch(processes, console, Tuner(grid, options.optuna, options.select_by).plan)
    found = selection.candidates(grid, processes, options.select_by)
    chosen = selection.choose(found, options.select_by)
    selection.write_selection(found, chosen, grid.folder / selection.FILE)
    return chosen, selection.notes(grid, found, chosen, options.select_by)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(allow_abbrev=False, add_help=False)
    parser.add_argument("--objectives", type=_list_of(str), required=True)
    parser.add_argument("--seeds", type=_list_of(int), default=[0, 1, 2])
    parser.add_argument("--jobs", type=_positive, default=1)
    parser.add_argument("--at", type=_list_of(_positive), default=[])
    parser.add_argument("--sweep_dir", type=Path)
    parser.add_argument("--select_seeds", type=_list_of(int), default=[])
    parser.add_argument("--select_by", default="val/sampled_accuracy")
    parser.add_argument("--optuna", type=_positive)
    parser.add_argument("--cluster", choices=cluster.CLUSTERS)
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


def _check_tuning(grid: Grid, options: argparse.Namespace) -> None:
    if options.optuna is None:
        return
    if not grid.axes:
        raise ValueError(
            f"Got --optuna {options.optuna} and nothing to tune; expected --grid.FLAG with values (1e-4,2e-4) or a "
            "range (1e-5:1e-3:log)."
        )
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ValueError("--optuna needs Optuna: pip install 'rlsd_pl[optuna]'.") from None


def _launcher(options: argparse.Namespace, grid: Grid, parameters: dict[str, Any], program: Sequence[str]) -> Launcher:
    if options.cluster is None:
        return LocalLauncher(grid.flags, options.jobs, program)
    executor = cluster.make_executor(options.cluster, grid.folder / cluster.FOLDER, parameters)
    return cluster.ClusterLauncher(executor, grid.flags, program)
