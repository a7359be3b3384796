"""``rlsd-pl report``: find the runs, say what stands against comparing them, write the page and its files."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rlsd_pl.commands.help import fail

if TYPE_CHECKING:
    from rlsd_pl.commands.report.load import Run
    from rlsd_pl.commands.report.table import Table

PAGE = "index.html"

DEFAULT_NAMES = {"baseline": "rlvr", "ceiling": "oracle"}
"""Objectives that are taken for the two where they are there."""

KEYS = ("val/sampled_accuracy", "val/greedy_accuracy", "rollout/reward")
"""Series that the target, the shares and the headline are about: the first that was logged."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}. See --help.")


def parser() -> argparse.ArgumentParser:
    """Of the command."""
    made = _Parser(
        "rlsd-pl report",
        description="One page from run folders or sweeps: learning curves, tables with intervals, leakage, credit, "
        "cost, and what stands against a fair comparison. The figures also come as PNG, SVG and CSV.",
        allow_abbrev=False,
    )
    made.add_argument("runs", nargs="+", metavar="RUN_OR_SWEEP", help="folders; all runs below them count; 'last'")
    made.add_argument("-o", "--output", type=Path, default=Path("report"), metavar="FOLDER", help="default: report")
    made.add_argument("--baseline", metavar="NAME", help="objective to compare with (default: rlvr, where it is there)")
    made.add_argument("--ceiling", metavar="NAME", help="objective that is the ceiling (default: oracle, likewise)")
    made.add_argument("--key", help=f"series of the headline (default: the first of {', '.join(KEYS)} that was logged)")
    made.add_argument("--target", type=float, metavar="X", help="of --key, for the iterations to target")
    made.add_argument("--title", default="Report", help="of the page")
    return made


def main(argv: Sequence[str]) -> int:
    """Report.

    Returns:
        The exit status, 0; mistakes end with 2.
    """
    asked = parser().parse_args(list(argv))
    try:
        _report(asked, argv)
    except (ValueError, OSError) as error:
        fail(str(error))
    return 0


def _report(asked: argparse.Namespace, argv: Sequence[str]) -> None:
    from rich.console import Console

    from rlsd_pl.commands.report.checks import warnings
    from rlsd_pl.commands.report.commands import commands
    from rlsd_pl.commands.report.costs import settings
    from rlsd_pl.commands.report.credit import traces
    from rlsd_pl.commands.report.figures import write_figures
    from rlsd_pl.commands.report.load import find
    from rlsd_pl.commands.report.page import write_page
    from rlsd_pl.commands.report.panels import all_panels
    from rlsd_pl.commands.report.study import Study
    from rlsd_pl.commands.report.tables import all_tables

    runs = find(asked.runs)
    baseline, ceiling = (_objective(runs, name, getattr(asked, name)) for name in DEFAULT_NAMES)
    study = Study(runs, baseline, ceiling, _key(runs, asked.key), asked.target)
    told = warnings(runs, baseline)
    tables, panels = [*all_tables(study), settings(study)], all_panels(study)
    if asked.output.exists() and not asked.output.is_dir():
        raise ValueError(
            f"Got -o {asked.output}, which is a file; expected a folder, which is made where it is absent."
        )
    figures = asked.output / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    write_figures(panels, study.objectives, figures)
    for table in tables:
        _write_csv(table, asked.output / f"{table.name}.csv")
    page = asked.output / PAGE
    shown = [table for table in tables if table.rows]
    write_page(page, asked.title, study, told, panels, shown, traces(study), commands(study, argv))
    console = Console(highlight=False, soft_wrap=True)
    for text in told:
        console.print(f"[bold yellow]note:[/] {text.replace('[', chr(92) + '[')}")
    console.print(f"{page} (figures and tables beside it)", markup=False)


def _objective(runs: Sequence[Run], role: str, wanted: str | None) -> str | None:
    """An objective that was asked for, or the default if it is there."""
    names = list(dict.fromkeys(run.objective for run in runs))
    if wanted is not None and wanted not in names:
        raise ValueError(f"Got --{role} {wanted!r}; expected one of: {', '.join(names)}.")
    return wanted or next((name for name in names if name == DEFAULT_NAMES[role]), None)


def _key(runs: Sequence[Run], wanted: str | None) -> str:
    """The series of the headline.

    Raises:
        ValueError: if no run has logged it, or nothing at all.
    """
    logged = {key for run in runs for key in run.history}
    if not logged:
        raise ValueError(
            f"None of these {len(runs)} runs has logged anything: {runs[0].folder / 'csv'} is empty or absent. Wait "
            "for the first iteration; a run with --logger none logs nothing at all."
        )
    if wanted is not None and wanted not in logged:
        raise ValueError(f"Got --key {wanted!r}; expected a series that was logged: {', '.join(sorted(logged))}.")
    return wanted or next((key for key in KEYS if key in logged), sorted(logged)[0])


def _write_csv(table: Table, path: Path) -> None:
    from rlsd_pl.persistence.storage import write_text

    text = io.StringIO(newline="")
    if table.records:
        writer = csv.DictWriter(text, list(table.records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: "" if value != value else value for key, value in each.items()} for each in table.records
        )
    write_text(path, text.getvalue())
