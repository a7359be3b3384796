"""What the tables of docs/results.md have in common: records as a study, and numbers as their cells show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rlsd_pl.commands.findings.collect import ACCURACY, Record
from rlsd_pl.commands.report.load import Run
from rlsd_pl.commands.report.study import Measure, Study
from rlsd_pl.commands.report.tables import plus_minus
from rlsd_pl.commands.sweep.results import shown
from rlsd_pl.comparison import BySeed, PairedDifference, mean_interval, paired_difference

BASELINE, CEILING = "rlvr", "oracle"

Cells = list[list[str]]
"""A head and rows."""


def study_of(records: Sequence[Record]) -> Study:
    """Records as a report sees runs, for its figures; the target is half of the baseline's mean gain."""
    runs = [
        Run(Path(), r.method, r.seed, {}, r.history, max(r.history[ACCURACY]), finished=True, data=None)
        for r in records
        if ACCURACY in r.history
    ]
    names = {run.objective for run in runs}
    own = [run.history[ACCURACY] for run in runs if run.objective == BASELINE]
    target = sum(series[0] + series[max(series)] for series in own) / (2 * len(own)) if own else None
    ceiling = CEILING if CEILING in names else None
    return Study(runs, BASELINE if own else None, ceiling, ACCURACY, target)


def of(records: Sequence[Record], lab: str, *parts: str) -> list[Record]:
    """Records of one lab, of these sweeps."""
    return [record for record in records if record.lab == lab and record.part in parts]


def gains(study: Study) -> dict[str, PairedDifference]:
    """Of each method, how far its area lies above RLVR's on common seeds."""
    areas = study.by_seed(study.area(ACCURACY))
    base = areas.get(study.baseline or "", {})
    return {name: paired_difference(own, base) for name, own in areas.items() if name != study.baseline}


def mean_of(key: str) -> Measure:
    """A series' mean over all iterations that have it."""

    def measure(run: Run) -> float | None:
        values = [value for value in run.history.get(key, {}).values() if math.isfinite(value)]
        return sum(values) / len(values) if values else None

    return measure


def mean_shown(values: BySeed) -> str:
    return plus_minus(*mean_interval(list(values.values()))) if values else ""


def mean(values: BySeed) -> float:
    return sum(values.values()) / len(values) if values else math.nan


def gain_shown(method: BySeed, baseline: BySeed) -> str:
    found = paired_difference(method, baseline)
    return shown(found.mean, found.half_width, "+")
