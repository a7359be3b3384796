"""Histograms as rectangles; the page draws them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, BINS = 360.0, 80.0, 24


@dataclass(frozen=True)
class Chart:
    """A histogram of ``WIDTH`` x ``HEIGHT`` units.

    Attributes:
        bars: (x, y, width, height, count) of each bin that holds anything.
        low, high: ends of the axis, in words.
        marker: x of a line across it.
    """

    title: str
    bars: list[tuple[float, float, float, float, int]]
    low: str
    high: str
    marker: float | None = None


def histogram(
    title: str, values: Sequence[float], marker: float | None = None, ends: tuple[float, float] | None = None
) -> Chart:
    """Of values in equal bins, from 0 on where all are positive.

    Args:
        marker: a value to mark; the axis reaches it.
        ends: of the axis.
    """
    low, high = ends or (min(0.0, *values), max(*values, 0.0 if marker is None else marker))
    high = high if high > low else low + 1.0
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    step = WIDTH / BINS
    bars = [
        (round(n * step, 2), round(HEIGHT - tall, 2), round(step - 1, 2), round(tall, 2), int(count))
        for n, count in enumerate(counts)
        if (tall := HEIGHT * count / max(counts.max(), 1))
    ]
    line = None if marker is None else round(WIDTH * (marker - low) / (high - low), 2)
    return Chart(title, bars, f"{edges[0]:.3g}", f"{edges[-1]:.3g}", line)


def histograms(title: str, series: Mapping[str, Sequence[float]]) -> list[Chart]:
    """One for each series that is not empty, on one axis."""
    everything = [value for values in series.values() for value in values]
    if not everything:
        return []
    ends = min(0.0, *everything), max(0.0, *everything)
    return [histogram(f"{name}: {title}", values, 0.0, ends) for name, values in series.items() if values]
