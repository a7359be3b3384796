"""Rules of leakage detection on runs that have ended: when each would have raised an alarm, and when accuracy fell."""

from __future__ import annotations

import argparse
import csv
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rlsd_pl.commands.help import fail
from rlsd_pl.commands.pages import markdown_table
from rlsd_pl.commands.report.load import Run, find
from rlsd_pl.commands.runs import History

if TYPE_CHECKING:
    from rlsd_pl.leakage import Rule

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


def first_alarm(history: History, rules: Sequence[Rule]) -> tuple[int, str] | None:
    """The first iteration in which one of the rules raises an alarm, with its metric, as it would within the run."""
    from rlsd_pl.leakage import Alarms

    alarms = Alarms(rules)
    iterations = sorted({iteration for series in history.values() for iteration in series})
    for iteration in iterations:
        raised = alarms.check({key: series[iteration] for key, series in history.items() if iteration in series})
        if raised:
            return iteration, raised[0].key
    return None


def measured(places: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The runs in and below these folders that have evaluations, on the given seeds (all, if none is given)."""
    return [run for run in find(places) if ACCURACY in run.history and (not seeds or run.seed in seeds)]


def outcomes(runs: Sequence[Run], rules: Sequence[Rule], drop: float) -> list[Outcome]:
    """Of these runs, under rules of which any may raise the alarm."""
    found = []
    for run in runs:
        alarm = first_alarm(run.history, rules)
        found.append(Outcome(run.objective, run.seed, fall_of(run.history[ACCURACY], drop), *(alarm or (None, ""))))
    return found


def compared(runs: Sequence[Run], rules: Sequence[Rule], drop: float) -> list[list[str]]:
    """A head, and a row for each rule by itself: of each objective that falls, the leads of these runs by seed.

    A lead is the number of iterations from the alarm to the fall; ``none`` where no alarm came.
    """
    by_rule = {_text(rule): outcomes(runs, [rule], drop) for rule in rules}
    first = next(iter(by_rule.values()))
    falling = sorted({outcome.objective for outcome in first if outcome.fall is not None})
    steady = sum(outcome.fall is None for outcome in first)
    rows = []
    for text, found in by_rule.items():
        fell = sorted((o for o in found if o.fall is not None), key=lambda o: o.seed)
        leads = [", ".join(_lead(o) for o in fell if o.objective == name) for name in falling]
        false = sum(outcome.fall is None and outcome.alarm is not None for outcome in found)
        rows.append([f"`{text}`", *leads, str(false)])
    return [["rule", *(f"`{name}`" for name in falling), f"alarms on {steady} runs without a fall"], *rows]


def _text(rule: Rule) -> str:
    return f"{type(rule).__name__} {rule.key} {rule.limit:g} {rule.checks}"


def _lead(outcome: Outcome) -> str:
    return "none" if outcome.lead is None else str(outcome.lead)


def parsed(text: str) -> Rule:
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
    parser.add_argument(
        "--compare", action="store_true", help="each rule by itself, as a Markdown table with a row each"
    )
    options = parser.parse_args(argv)
    from rlsd_pl.leakage import default_rules

    rules = options.rule or default_rules()
    try:
        runs = measured(options.runs, options.seeds)
    except ValueError as error:
        fail(str(error))
    if not runs:
        fail(f"No run with {ACCURACY} on these seeds in {', '.join(options.runs)}.")
    logged = {key for run in runs for key in run.history}
    for rule in options.rule or []:
        if rule.key not in logged:
            near = difflib.get_close_matches(rule.key, sorted(logged), 3)
            fail(
                f"Got the rule '{_text(rule)}', whose key no run has logged. Set it to a logged one"
                + (f", such as {', '.join(near)}." if near else ".")
            )
    found = outcomes(runs, rules, options.drop)
    if options.compare:
        print(markdown_table(*compared(runs, rules, options.drop)))
    else:
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
