"""Runs put together by objective and seed, and what is measured of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rlsd_pl.commands.report.load import Run
from rlsd_pl.comparison import Crossing, area_under_curve, iterations_to_target, smoothed

ACCURACIES = {"greedy accuracy": "val/greedy_accuracy", "sampled accuracy": "val/sampled_accuracy"}
REWARD = "rollout/reward"

GAIN = 0.9
"""Of the baseline's mean gain, the part that the default target lies at."""

Measure = Callable[[Run], float | None]


@dataclass(frozen=True)
class Study:
    """Several runs and what they are compared with.

    Attributes:
        baseline, ceiling: objectives among those of the runs; ``None`` for none.
        key: series whose target, areas and final values the headline is about.
        wanted_target: of ``key``; ``None`` for the default.
    """

    runs: Sequence[Run]
    baseline: str | None
    ceiling: str | None
    key: str
    wanted_target: float | None = None

    @cached_property
    def objectives(self) -> list[str]:
        """All, the baseline first and the ceiling last."""
        names = sorted({run.objective for run in self.runs})
        return sorted(names, key=lambda name: (name != self.baseline, name == self.ceiling))

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    @cached_property
    def finished(self) -> dict[str, dict[int, Run]]:
        """Finished runs by objective and seed; of two on one seed, the later."""
        return {
            name: {run.seed: run for run in self.runs if run.objective == name and run.finished}
            for name in self.objectives
        }

    def has(self, key: str) -> bool:
        """True if some finished run has logged this."""
        return any(key in run.history for runs in self.finished.values() for run in runs.values())

    def by_seed(self, measure: Measure) -> dict[str, dict[int, float]]:
        """A figure of each finished run; those that lack it, or have none that is finite, are left out."""
        return {
            name: {s: value for s, run in runs.items() if (value := measure(run)) is not None and math.isfinite(value)}
            for name, runs in self.finished.items()
        }

    def window(self, key: str) -> tuple[int, int]:
        """First and last iteration that every finished run with this series has within its curve."""
        series = [run.history[key] for runs in self.finished.values() for run in runs.values() if key in run.history]
        return max(min(each) for each in series), min(max(each) for each in series)

    def area(self, key: str) -> Measure:
        """Area under a series over the window that all runs share; ``None`` below two points."""
        low, high = self.window(key)

        def measure(run: Run) -> float | None:
            x, y = curve(run.history.get(key, {}), low, high)
            return area_under_curve(x, y) if len(x) > 1 else None

        return measure

    @cached_property
    def target(self) -> float | None:
        """The wanted one; by default where the baseline's mean curve has made nine tenths of its gain, if any."""
        if self.wanted_target is not None or self.baseline is None:
            return self.wanted_target
        values = [curve(run.history.get(self.key, {}))[1] for run in self.finished[self.baseline].values()]
        curves = [smoothed(each) for each in values if each]
        if not curves:
            return None
        start = sum(each[0] for each in curves) / len(curves)
        gain = sum(each[-1] for each in curves) / len(curves) - start
        return float(start + GAIN * gain) if gain > 0 else None

    def crossings(self, target: float) -> dict[str, dict[int, Crossing]]:
        """When each finished run reaches the target."""
        return {
            name: {
                seed: iterations_to_target(*points, target)
                for seed, run in runs.items()
                if (points := curve(run.history.get(self.key, {})))[0]
            }
            for name, runs in self.finished.items()
        }


def final(key: str) -> Measure:
    """A series after the last planned iteration."""
    return lambda run: run.history.get(key, {}).get(run.planned or run.iteration)


def curve(series: Mapping[int, float], low: float = 0, high: float = math.inf) -> tuple[list[int], list[float]]:
    """Iterations and values of a series, in order, finite ones from ``low`` to ``high``."""
    points = [(x, y) for x, y in sorted(series.items()) if low <= x <= high and math.isfinite(y)]
    return [x for x, _ in points], [y for _, y in points]
