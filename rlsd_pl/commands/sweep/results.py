"""What the runs of a sweep show together: mean and 95 % t-interval over seeds, and differences on common seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from rlsd_pl.commands.pages import markdown_table
from rlsd_pl.commands.runs import History, planned_iterations, read_history
from rlsd_pl.commands.sweep.costs import COSTS, costs
from rlsd_pl.comparison import Comparison, compare

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


BASELINE = "rlvr"
"""The objective that the others are compared with, where it is there."""


@dataclass(frozen=True)
class FinishedRun:
    """A run's seed, its planned iterations, all of which it has trained, and its logged series."""

    seed: int
    iterations: int
    history: History

    @classmethod
    def read(cls, folder: Path, seed: int) -> FinishedRun:
        """From its folder."""
        return cls(seed, planned_iterations(folder) or 0, read_history(folder))

    def at(self, key: str, iteration: int | None = None) -> float | None:
        """A series at an iteration, the last one by default; ``None`` where it has no finite value there."""
        value = self.history.get(key, {}).get(self.iterations if iteration is None else iteration)
        return value if value is not None and math.isfinite(value) else None


Finished = Mapping[str, Sequence[FinishedRun]]
"""Finished runs by objective."""


@dataclass(frozen=True)
class Figure(Comparison):
    """One metric of one objective over seeds; NaN and n = 0 when no run was evaluated at exactly this iteration."""

    metric: str = ""

    def __str__(self) -> str:
        return shown(self.mean, self.half_width)

    @property
    def change(self) -> str:
        """The paired difference, for people; nothing without common seeds, or for the baseline itself."""
        return shown(self.difference, self.difference_half_width, "+")


def shown(mean: float, half_width: float, sign: str = "") -> str:
    """``mean ± half_width``, either left out where it is NaN."""
    if math.isnan(mean):
        return ""
    form = ",.0f" if abs(mean) >= 1000 else ".3f"
    return f"{mean:{sign}{form}}" if math.isnan(half_width) else f"{mean:{sign}{form}} ± {half_width:{form}}"


def final_metrics(logged: set[str]) -> dict[str, str]:
    """:data:`FINAL` with pass@k for each k, as far as they were logged: name and series."""
    ks = sorted(int(key.rpartition("_")[2]) for key in logged if key.startswith("val/pass_at_"))
    named = FINAL | {f"pass@{k}": f"val/pass_at_{k}" for k in ks}
    return {name: key for name, key in named.items() if key in logged}


def figures(finished: Finished, at: Sequence[int]) -> list[Figure]:
    """All metrics of all objectives, and what they have cost; a metric that no run has is left out."""
    logged = {key for runs in finished.values() for run in runs for key in run.history}
    found = [
        figure
        for metric, key in final_metrics(logged).items()
        for figure in _figures(metric, finished, lambda run, key=key: run.at(key))
    ]
    for name in COSTS:
        if any(name in costs(run.history) for runs in finished.values() for run in runs):
            found += _figures(name, finished, lambda run, name=name: costs(run.history).get(name))
    for iteration in at:
        metric = f"sampled accuracy at {iteration}"
        found += _figures(metric, finished, lambda run, iteration=iteration: run.at(AT, iteration))
    return found


def _figures(metric: str, finished: Finished, value: Callable[[FinishedRun], float | None]) -> list[Figure]:
    values = {
        name: {run.seed: found for run in runs if (found := value(run)) is not None} for name, runs in finished.items()
    }
    return [Figure(**asdict(each), metric=metric) for each in compare(values, BASELINE)]


def write_csv(found: Sequence[Figure], path: Path) -> None:
    """One line per objective and metric, at full precision; an absent number is blank."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["objective", "metric", *(name for name in Comparison.__dataclass_fields__ if name != "objective")]
        writer.writerow(names)
        for figure in found:
            values = (getattr(figure, name) for name in names)
            writer.writerow("" if value != value else value for value in values)


def _grid(found: Sequence[Figure], cell: Callable[[Figure], str] = str) -> tuple[list[str], list[list[str]]]:
    objectives = list(dict.fromkeys(figure.objective for figure in found))
    cells = {(figure.metric, figure.objective): cell(figure) for figure in found}
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
    return _console(_grid(found), finished, "held-out")


def changes(found: Sequence[Figure], finished: Finished) -> Table | None:
    """Likewise, paired differences from the baseline; ``None`` where there is nothing to compare."""
    compared = [figure for figure in found if figure.objective != BASELINE]
    if not any(figure.common_seeds for figure in compared):
        return None
    return _console(_grid(compared, lambda figure: figure.change), finished, f"difference from {BASELINE}")


def _console(grid: tuple[list[str], list[list[str]]], finished: Finished, corner: str) -> Table:
    objectives, rows = grid
    named = heads(finished)
    if len(finished) <= WIDEST:
        shown = Table(corner, *(named[name] for name in objectives), box=None, title_justify="left")
        for row in rows:
            shown.add_row(*row)
        return shown
    brief = [row for row in rows if row[0] in BRIEF]
    shown = Table("objective", *(row[0] for row in brief), box=None, title_justify="left")
    for place, name in enumerate(objectives, start=1):
        shown.add_row(named[name], *(row[place] for row in brief))
    return shown


def write_markdown(found: Sequence[Figure], finished: Finished, notes: Sequence[str], path: Path) -> None:
    """The same tables for people, with what they are made of."""
    text = "# Sweep\n\n" + "\n".join(notes) + "\n\n" + _markdown(_grid(found), finished, "held-out")
    compared = [figure for figure in found if figure.objective != BASELINE]
    if any(figure.common_seeds for figure in compared):
        text += f"\n\n## Differences from {BASELINE}\n\n{PAIRED}\n\n"
        text += _markdown(_grid(compared, lambda figure: figure.change), finished, "held-out")
    path.write_text(text + "\n")


PAIRED = (
    "Mean of the differences on common seeds ± half-width of its 95 % t-interval; results.csv has the number of common "
    "seeds, the interquartile mean and the probability of improvement."
)


def _markdown(grid: tuple[list[str], list[list[str]]], finished: Finished, corner: str) -> str:
    objectives, rows = grid
    return markdown_table([corner, *(heads(finished)[name] for name in objectives)], *rows)
