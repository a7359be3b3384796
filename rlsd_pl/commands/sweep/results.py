"""What the runs of a sweep show together: mean and 95 % t-interval over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.table import Table

from rlsd_pl.commands.runs import History, planned_iterations, read_history

FINAL = {
    "greedy accuracy": "val/greedy_accuracy",
    "sampled accuracy": "val/sampled_accuracy",
    "length (tokens)": "val/length",
    "truncated": "val/truncated",
    "hollow": "val/hollow",
    "phrase rate": "leakage/phrase_rate",
    "teacher KL (nats)": "leakage/teacher_kl",
}
"""Metrics of the evaluation after the last iteration: name and series. pass@k is added for the k that was measured."""

AT = "val/sampled_accuracy"


@dataclass(frozen=True)
class FinishedRun:
    """A run's planned iterations, all of which it has trained, and its logged series."""

    iterations: int
    history: History

    @classmethod
    def read(cls, folder: Path) -> FinishedRun:
        """From its folder."""
        return cls(planned_iterations(folder) or 0, read_history(folder))


Finished = Mapping[str, Sequence[FinishedRun]]
"""Finished runs by objective."""


@dataclass(frozen=True)
class Figure:
    """One metric of one objective over seeds.

    Attributes:
        mean: over ``n`` seeds; NaN for n = 0, when no run was evaluated at exactly this iteration.
        half_width: of the 95 % t-interval of the mean; NaN below two seeds.
    """

    objective: str
    metric: str
    mean: float
    half_width: float
    n: int

    def __str__(self) -> str:
        if self.n == 0:
            return ""
        return f"{self.mean:.3f}" if math.isnan(self.half_width) else f"{self.mean:.3f} ± {self.half_width:.3f}"


def figures(finished: Finished, at: Sequence[int]) -> list[Figure]:
    """All metrics of all objectives; a metric that no run has is left out."""
    pass_at = {
        key for runs in finished.values() for run in runs for key in run.history if key.startswith("val/pass_at_")
    }
    final = FINAL | {f"pass@{k}": f"val/pass_at_{k}" for k in sorted(int(key.rpartition("_")[2]) for key in pass_at)}
    logged = {key for runs in finished.values() for run in runs for key in run.history}
    found = [
        _figure(objective, metric, [run.history.get(key, {}).get(run.iterations) for run in runs])
        for metric, key in final.items()
        if key in logged
        for objective, runs in finished.items()
    ]
    for iteration in at:
        for objective, runs in finished.items():
            values = [run.history.get(AT, {}).get(iteration) for run in runs]
            found.append(_figure(objective, f"sampled accuracy at {iteration}", values))
    return found


def _figure(objective: str, metric: str, values: Sequence[float | None]) -> Figure:
    import torch

    from rlsd_pl.functional import mean_interval

    measured = [value for value in values if value is not None and math.isfinite(value)]
    if not measured:
        return Figure(objective, metric, math.nan, math.nan, 0)
    return Figure(objective, metric, *mean_interval(torch.tensor(measured, dtype=torch.float64)), len(measured))


def write_csv(found: Sequence[Figure], path: Path) -> None:
    """One line per objective and metric, at full precision; an absent number is blank."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Figure))
        for figure in found:
            writer.writerow("" if value != value else value for value in asdict(figure).values())


def _grid(found: Sequence[Figure]) -> tuple[list[str], list[list[str]]]:
    objectives = list(dict.fromkeys(figure.objective for figure in found))
    cells = {(figure.metric, figure.objective): str(figure) for figure in found}
    metrics = dict.fromkeys(figure.metric for figure in found)
    return objectives, [[metric, *(cells[metric, objective] for objective in objectives)] for metric in metrics]


def heads(finished: Finished) -> dict[str, str]:
    """Column head of each objective: its name and number of seeds."""
    return {objective: f"{objective} (n = {len(runs)})" for objective, runs in finished.items()}


WIDEST = 4
"""Most objectives that get a column each on the console."""

BRIEF = ("greedy accuracy", "sampled accuracy", "hollow", "length (tokens)")
"""What the console shows of many objectives; the files hold everything."""


def table(found: Sequence[Figure], finished: Finished) -> Table:
    """For the console: a line per metric and a column per objective; of many objectives a line each, in brief."""
    objectives, rows = _grid(found)
    named = heads(finished)
    if len(objectives) <= WIDEST:
        shown = Table("held-out", *(named[name] for name in objectives), box=None, title_justify="left")
        for row in rows:
            shown.add_row(*row)
        return shown
    brief = [row for row in rows if row[0] in BRIEF]
    shown = Table("objective", *(row[0] for row in brief), box=None, title_justify="left")
    for place, name in enumerate(objectives, start=1):
        shown.add_row(named[name], *(row[place] for row in brief))
    return shown


def write_markdown(found: Sequence[Figure], finished: Finished, notes: Sequence[str], path: Path) -> None:
    """The same table for people, with what it is made of."""
    objectives, rows = _grid(found)
    lines = [["held-out", *(heads(finished)[name] for name in objectives)], ["---"] * (1 + len(objectives)), *rows]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    path.write_text("# Sweep\n\n" + "\n".join(notes) + "\n\n" + text + "\n")
