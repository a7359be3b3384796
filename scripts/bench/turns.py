"""Both sides in turn, in one process: seconds, and ratios of neighbours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Sides = Mapping[str, Callable[[], object]]
"""What is compared, by name."""


def now() -> float:
    """Seconds: of the CPU that this process took, which other load hardly changes; on a GPU of the clock, when all that
    is queued is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = now()
    run()
    return now() - start


def in_turn(sides: Sides, turns: int) -> dict[str, list[float]]:
    """Seconds of each side in each turn, after one turn that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns + 1):
        for name, run in sides.items():
            taken[name].append(seconds(run))
    return {name: values[1:] for name, values in taken.items()}


def ratios(first: Sequence[float], second: Sequence[float]) -> str:
    """Of the first to the second, turn by turn: median, smallest and largest."""
    of_turns = [a / b for a, b in zip(first, second, strict=True)]
    return f"{statistics.median(of_turns):.2f} ({min(of_turns):.2f} to {max(of_turns):.2f})"
