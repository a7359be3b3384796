"""What the findings need of runs, in two small CSVs: curves at the evaluations, and one line per run."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlsd_pl.commands.evaluate import EVALUATION_FILE
from rlsd_pl.commands.report.load import Run, find
from rlsd_pl.commands.runs import History
from rlsd_pl.commands.sweep.costs import costs
from rlsd_pl.commands.sweep.grid import RECORD

CURVES, RUNS = "curves.csv", "runs.csv"

ACCURACY = "val/sampled_accuracy"

KEYS = (
    *(ACCURACY, "val/greedy_accuracy", "leakage/hollow_rate", "leakage/invalid_rate", "leakage/answer_first"),
    *("leakage/answer_before", "leakage/rollout_at_once", "leakage/gap", "leakage/teacher_kl"),
    *("credit/auroc", "credit/precision_at_k", "credit/gini", "rollout/length", "train/entropy"),
)
"""Series that the findings are about."""

PLACE = ("lab", "part", "method", "seed")
"""What tells runs apart: the world, the sweep's folder, objective (with what the sweep changes), seed."""

SETTINGS = {"lr": "optimizer.lr", "group size": "data.group_size"}
"""Settings that the tables name, by their columns."""

MAIN = "main"
"""The sweep whose methods go by the names of their objectives alone."""


@dataclass(frozen=True)
class Record:
    """One run, as the CSVs hold it.

    Attributes:
        history: of ``KEYS``, at the evaluations.
        figures: ``SETTINGS``, costs, and what an evaluation of the finished run has measured, by name.
    """

    lab: str
    part: str
    method: str
    seed: int
    history: History = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, str, str, int]:
        return self.lab, self.part, self.method, self.seed


def collect(root: Path) -> list[Record]:
    """Finished runs of all sweeps ``ROOT/LAB/PART``; those that settings were chosen on are left out.

    Raises:
        ValueError: if there are none.
    """
    sweeps = sorted(path.parent for path in root.glob(f"*/*/{RECORD}"))
    if not sweeps:
        raise ValueError(f"{root} holds no sweep. Expected {root}/LAB/PART with a {RECORD}, as sweep.py leaves it.")
    runs = [(sweep, run) for sweep in sweeps for run in find([str(sweep)]) if run.finished]
    return sorted((record_of(sweep, run) for sweep, run in runs), key=lambda record: record.place)


def record_of(sweep: Path, run: Run) -> Record:
    """What is kept of a run of a sweep."""
    objective = run.objective.partition(",")[0]
    part = sweep.name
    method = f"{objective} {part}" if "=" in part else objective
    kept = thinned({key: run.history[key] for key in KEYS if key in run.history})
    settings = {name: float(run.settings.get(setting, math.nan)) for name, setting in SETTINGS.items()}
    figures = {**settings, **costs(run.history), **_evaluated(run.folder / EVALUATION_FILE)}
    return Record(sweep.parent.name, part, method, run.seed, kept, figures)


def thinned(history: History) -> History:
    """Series at the iterations of evaluations; what is logged more often is averaged since the evaluation before.

    >>> thinned({"val/sampled_accuracy": {0: 0.5, 2: 0.6}, "train/entropy": {1: 1.0, 2: 3.0, 3: 9.0}})
    {'val/sampled_accuracy': {0: 0.5, 2: 0.6}, 'train/entropy': {2: 2.0}}
    """
    points = sorted(history.get(ACCURACY, {}))
    spans = list(zip([-1, *points], points, strict=False))
    kept: History = {}
    for key, series in history.items():
        inside = {end: [value for at, value in series.items() if begin < at <= end] for begin, end in spans}
        kept[key] = {end: sum(values) / len(values) for end, values in inside.items() if values}
    return kept


def _evaluated(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    metrics = json.loads(path.read_text())["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith("pass_at_")}


# --- files -----------------------------------------------------------------------------------------------------------


def write(records: Sequence[Record], folder: Path) -> None:
    """Both CSVs, with four significant digits."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = list(dict.fromkeys(name for record in records for name in record.figures))
    lines = ([*record.place, *_cells(record.figures, figures)] for record in records)
    _write(folder / RUNS, [*PLACE, *figures], lines)
    _write(folder / CURVES, [*PLACE, "iteration", *KEYS], (line for record in records for line in _points(record)))


def _points(record: Record) -> Iterator[list[Any]]:
    for at in sorted({at for series in record.history.values() for at in series}):
        values = {key: series[at] for key, series in record.history.items() if at in series}
        yield [*record.place, at, *_cells(values, KEYS)]


def _cells(values: Mapping[str, float], names: Iterable[str]) -> list[str]:
    return [f"{values[name]:.4g}" if name in values and math.isfinite(values[name]) else "" for name in names]


def _write(path: Path, heads: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(lines)


def read(folder: Path) -> list[Record]:
    """What :func:`write` has written.

    Raises:
        ValueError: if it is not there.
    """
    if not (folder / RUNS).exists() or not (folder / CURVES).exists():
        raise ValueError(f"{folder} has no {RUNS} and {CURVES}. Set --runs to the sweeps that they are made from.")
    found: dict[tuple[str, ...], Record] = {}
    for row in _rows(folder / RUNS):
        lab, part, method, seed = place = _place(row)
        figures = {name: float(value) for name, value in row.items() if name not in PLACE and value}
        found[place] = Record(lab, part, method, int(seed), {}, figures)
    for row in _rows(folder / CURVES):
        history = found[_place(row)].history
        for key in KEYS:
            if row[key]:
                history.setdefault(key, {})[int(row["iteration"])] = float(row[key])
    return list(found.values())


def _place(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in PLACE)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
