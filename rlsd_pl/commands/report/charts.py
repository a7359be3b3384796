"""Panels as the coordinates of SVG, for the page's template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlsd_pl.commands.report.panels import Line, Panel

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 350, 8, 190
"""Of the plot within the picture, in its units."""

MOST_POINTS = 150
"""Of one curve in the page; the CSV has all."""

Tick = tuple[float, str]


@dataclass(frozen=True)
class Mark:
    """A polyline or polygon; ``seed`` is ``all`` where it stands for all seeds."""

    objective: str
    seed: str
    points: str


@dataclass(frozen=True)
class Chart:
    """A panel in the units of its picture.

    Attributes:
        scale: x and y of the data at LEFT, RIGHT, BOTTOM and TOP, for a script that reads values off.
    """

    panel: Panel
    lines: Sequence[Mark]
    bands: Sequence[Mark]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    scale: tuple[float, float, float, float]

    @property
    def averaged(self) -> set[str]:
        """Objectives that have a mean, before which their runs stand back."""
        return {line.objective for line in self.lines if line.seed == "all"}


def chart(panel: Panel) -> Chart | None:
    """The panel's coordinates; ``None`` if it has no point."""
    points = [point for line in panel.lines for point in line.points]
    if not points:
        return None
    y_values = [y for _, y in points] + [y for band in panel.bands for _, *bounds in band.points for y in bounds]
    y_ticks = ticks(min(y_values), max(y_values))
    xs = [_place(panel, x) for x, _ in points]
    x_ticks = _doubled(panel) if panel.doubling else ticks(min(xs), max(xs), whole=True)
    x0, x1 = min(min(xs), x_ticks[0]), max(max(xs), x_ticks[-1])
    scale = (x0, x1 if x1 > x0 else x0 + 1, y_ticks[0], y_ticks[-1])

    def at(x: float, y: float) -> str:
        return f"{_x(scale, _place(panel, x)):.1f},{_y(scale, y):.2f}"

    lines = [
        Mark(line.objective, "all" if line.seed is None else str(line.seed), " ".join(at(*p) for p in thinned(line)))
        for line in panel.lines
    ]
    bands = [
        Mark(b.objective, "all", " ".join([*(at(x, low) for x, low, _ in b.points),
                                           *(at(x, high) for x, _, high in reversed(b.points))]))
        for b in panel.bands
    ]  # fmt: skip
    shown_x = [(_x(scale, x), f"{2**x:g}" if panel.doubling else f"{x:g}") for x in x_ticks]
    return Chart(panel, lines, bands, shown_x, [(_y(scale, y), f"{y:.6g}") for y in y_ticks], scale)


def _place(panel: Panel, x: float) -> float:
    return math.log2(x) if panel.doubling else x


def _doubled(panel: Panel) -> list[float]:
    return sorted({_place(panel, x) for line in panel.lines for x, _ in line.points})


def _x(scale: tuple[float, float, float, float], x: float) -> float:
    return LEFT + (x - scale[0]) / (scale[1] - scale[0]) * (RIGHT - LEFT)


def _y(scale: tuple[float, float, float, float], y: float) -> float:
    return BOTTOM - (y - scale[2]) / (scale[3] - scale[2]) * (BOTTOM - TOP)


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``."""
    from matplotlib.ticker import MaxNLocator

    if low == high:
        low, high = max(low - 0.5, 0.0) if low >= 0 else low - 0.5, high + 0.5
    locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=2)
    found = [float(round(x, 10)) for x in locator.tick_values(low, high)]
    return [x for x in found if x >= 0] if low >= 0 else found


def thinned(line: Line) -> list[tuple[float, float]]:
    """At most about :data:`MOST_POINTS` points, the last one always."""
    step = -(-len(line.points) // MOST_POINTS) or 1
    kept = list(line.points[::step])
    return kept if not kept or kept[-1] == line.points[-1] else [*kept, line.points[-1]]
