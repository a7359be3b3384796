"""What runs took, and the settings in which they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rlsd_pl.commands.report.load import Run, differing, shortly
from rlsd_pl.commands.report.study import Study
from rlsd_pl.commands.report.table import Row, Table

TIMES = ("perf/rollout_seconds", "perf/update_seconds", "perf/evaluation_seconds", "perf/other_seconds")

COSTS: Mapping[str, Callable[[Run], float]] = {
    "tokens generated": lambda run: _total(run, "perf/generated_tokens"),
    "completions scored": lambda run: _total(run, "perf/scored_completions"),
    "seconds": lambda run: sum(_total(run, key) for key in TIMES if key in run.history) or math.nan,
}


def _total(run: Run, key: str) -> float:
    return sum(run.history[key].values()) if key in run.history else math.nan


def costs(study: Study) -> Table:
    order = {name: place for place, name in enumerate(study.objectives)}
    rows, records = [], []
    for run in sorted(study.runs, key=lambda run: (order[run.objective], run.seed)):
        costs = {name: cost(run) for name, cost in COSTS.items()}
        told = ["" if math.isnan(value) else f"{value:,.0f}" for value in costs.values()]
        rows.append(Row([run.objective, str(run.seed), str(run.iteration), *told], run.objective, run.seed))
        records.append({"objective": run.objective, "seed": run.seed, "iterations": run.iteration, **costs})
    note = (
        "Of training alone; seconds with evaluations. Completions scored: forwards for log-probs, the update's own "
        "among them. Blank where a run has not recorded it."
    )
    return Table("cost", "Cost", ["objective", "seed", "iterations", *COSTS], rows, note, records)


LEFT_OUT = ("seed_everything", "trainer.default_root_dir", "trainer.logger", "logger")


def settings(study: Study) -> Table:
    """Settings that differ between runs, by objective."""
    keys = [key for key in differing([run.settings for run in study.runs]) if not key.startswith(LEFT_OUT)]
    rows, records = [], []
    for key in keys:
        values = {
            name: dict.fromkeys(shortly(run.settings.get(key), 300) for run in study.runs if run.objective == name)
            for name in study.objectives
        }
        rows.append(Row([key, *(" / ".join(each) for each in values.values())]))
        records.append({"setting": key, **{name: " / ".join(each) for name, each in values.items()}})
    return Table("settings", "Settings that differ", ["setting", *study.objectives], rows, records=records)
