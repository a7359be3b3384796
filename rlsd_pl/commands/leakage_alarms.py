"""Rules of leakage detection on runs that have ended: when each would have raised an alarm, and when accuracy fell."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlsd_pl.commands.help import fail
from rlsd_pl.commands.report.load import find
from rlsd_pl.commands.runs import History

ACCURACY = "val/sampled_accuracy"

LEAD = 5
"""Iterations by which an alarm has to come before the fall to count as early."""


@dataclass(frozen=True)
class Outcome:
    """One run.

    Attributes:
        fall: the first evaluation from which on accuracy stays below its best so far by more than the drop; ``None`` if
            it never falls for good.
        alarm: the first iteration with an alarm; ``None`` without one.
        key: the metric of the rule that raised it.
    """

    objective: str
    seed: int
    fall: int | None
    alarm: int | None
    key: str = ""

    @property
    def lead(self) -> int | None:
        """Iterations from the alarm to the fall; negative where it came too late."""
        return None if self.fall is None or self.alarm is None else self.fall - self.alarm

    @property
    def verdict(self) -> str:
        if self.fall is None:
            return "false alarm" if self.alarm is not None else "quiet"
        if self.lead is None:
            return "missed"
        return "early" if self.lead >= LEAD else "late"


def fall_of(accuracy: Mapping[int, float], drop: float) -> int | None:
    """The iteration of a fall for good: from it on every value is more than ``drop`` below the best before it.

    >>> fall_of({0: 0.6, 5: 0.8, 10: 0.6, 15: 0.9, 20: 0.7, 25: 0.2}, 0.1)
    20
    """
    best, points = -math.inf, sorted(accuracy.items())
    for place, (iteration, _) in enumerate(points):
        if all(value < best - drop for _, value in points[place:]):
            return iteration
        best = max(best, points[place][1])
    return None


def first_alarm(history: History, rules: Sequence[object]) -> tuple[int, str] | None:
    """The first iteration in which one of the rules raises an alarm, with its metric, as it would within the run.

    Args:
        rules: of :class:`rlsd_pl.leakage.Rule`.
    """
    from rlsd_pl.leakage import Alarms

    alarms = Alarms(rules)  # type: ignore[arg-type]
    iterations = sorted({iteration for series in history.values() for iteration in series})
    for iteration in iterations:
        raised = alarms.check({key: series[iteration] for key, series in history.items() if iteration in series})
        if raised:
            return iteration, raised[0].key
    return None


def outcomes(places: Sequence[str], rules: Sequence[object], seeds: Sequence[int], drop: float) -> list[Outcome]:
    """Of the runs in and below these folders, on the given seeds (all, if none is given)."""
    found = []
    for run in find(places):
        if ACCURACY not in run.history or (seeds and run.seed not in seeds):
            continue
        alarm = first_alarm(run.history, rules)
        fall = fall_of(run.history[ACCURACY], drop)
        found.append(Outcome(run.objective, run.seed, fall, *(alarm or (None, ""))))
    return found


def parsed(text: str) -> object:
    """A rule from text such as ``Above rollout/hollow 0.2 3``: class, metric, limit, checks.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    from rlsd_pl import leakage

    try:
        name, key, limit, *checks = text.split()
        return getattr(leakage, name)(key, float(limit), *map(int, checks))
    except (ValueError, AttributeError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected 'CLASS KEY LIMIT [CHECKS]': {error}") from None


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: Sequence[str]) -> None:
    """Judge rules by finished runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders, or folders that hold some, such as a sweep's")
    parser.add_argument("--rule", type=parsed, action="append", help="'Above rollout/hollow 0.2 3'; default: the run's")
    parser.add_argument("--seeds", type=_seeds, default=[], help="0,1; default: all")
    parser.add_argument("--drop", type=float, default=0.1, help="of sampled accuracy below its best: a fall")
    parser.add_argument("--csv", type=Path, help="also write a row per run")
    options = parser.parse_args(argv)
    from rlsd_pl.leakage import default_rules

    try:
        found = outcomes(options.runs, options.rule or default_rules(), options.seeds, options.drop)
    except ValueError as error:
        fail(str(error))
    if not found:
        fail(f"No run with {ACCURACY} on these seeds in {', '.join(options.runs)}.")
    _show(found)
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("objective", "seed", "fall", "alarm", "lead", "key", "verdict"))
            writer.writerows((o.objective, o.seed, o.fall, o.alarm, o.lead, o.key, o.verdict) for o in found)


def _show(found: Sequence[Outcome]) -> None:
    console = Console(highlight=False)
    table = Table("objective", "seed", "fall", "alarm", "lead", "by", "verdict", box=None)
    for outcome in found:
        cells = (outcome.fall, outcome.alarm, outcome.lead)
        shown = ["-" if cell is None else str(cell) for cell in cells]
        table.add_row(outcome.objective, str(outcome.seed), *shown, outcome.key, outcome.verdict)
    fell = [outcome for outcome in found if outcome.fall is not None]
    steady = [outcome for outcome in found if outcome.fall is None]
    early = sum(outcome.verdict == "early" for outcome in fell)
    false = sum(outcome.alarm is not None for outcome in steady)
    console.print(table)
    console.print(
        f"{early} of {len(fell)} falls had an alarm at least {LEAD} iterations before; "
        f"{false} of {len(steady)} runs without a fall had one."
    )
