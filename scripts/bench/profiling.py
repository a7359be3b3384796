"""Where the time of an iteration goes: torch.profiler over rollout, scoring and update of a work, one thread.

python scripts/bench/profiling.py [--work lab|28m] [--objective rlsd|rlvr|opsd] [--teacher 2] [--turns 3] [--top 6]

Not named after the profiler, since a module of that name in this folder would stand in for Python's own.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from phases import Phases
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function
from turns import seconds
from works import WORKS, write_model

from rlsd_pl import objectives
from rlsd_pl.engines import grouped

OBJECTIVES = {"rlvr": objectives.RLVR, "rlsd": objectives.RLSD, "opsd": objectives.OPSD}

REGIONS = {"sampling": "drawing tokens", "optimizer": "optimizer"}
"""Ranges that are groups of their own, whatever operations they are made of."""

GROUPS = {
    "matrix products": r"mm|addmm|bmm|baddbmm|addmv|dot",
    "attention": r"_?scaled_dot_product\w*|_flash_attention\w*|_efficient_attention\w*",
    "softmax and log-probs": r"_?(log_)?softmax\w*|logsumexp|amax|max|scatter_add_?|gather",
    "copies and indices": r"copy_|_to_copy|cat|index\w*|select\w*|slice\w*|narrow|embedding\w*|clone|fill_|zero_|"
    r"new_\w+|empty\w*|masked\w*|unique\w*|nonzero|where|stack|repeat\w*|scatter\w*|resize_|arange|zeros|ones|full|tensor",
}
"""Operations by name; all others compute element by element or only change how a tensor is seen."""
OTHERS = "element by element, views"
PYTHON = "Python, calls of modules"


def group(event: Any) -> str:
    """The group of a profiled operation."""
    parent = event
    while parent is not None:
        if parent.name in REGIONS:
            return REGIONS[parent.name]
        parent = parent.cpu_parent
    name = event.name.removeprefix("aten::")
    return next((title for title, pattern in GROUPS.items() if re.fullmatch(pattern, name)), OTHERS)


def profiled(run: Callable[[], object]) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the time of one call by group, and by operation."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        start = time.perf_counter()  # the profiler's own clock is that on the wall
        run()
        taken = time.perf_counter() - start
    by_group: dict[str, float] = defaultdict(float)
    by_operation: dict[str, float] = defaultdict(float)
    for event in recorded.events() or []:
        own = event.self_cpu_time_total / 1e6
        if event.name.startswith("aten::"):
            by_group[group(event)] += own
            by_operation[event.name.removeprefix("aten::")] += own
    by_group[PYTHON] = max(taken - sum(by_group.values()), 0.0)
    return {k: v / taken for k, v in by_group.items()}, {k: v / taken for k, v in by_operation.items()}


def marked(phases: Phases) -> None:
    """Put the regions around drawing and optimizer."""
    draw, step = grouped.draw, phases.step

    def drawn(*arguments: Any) -> Any:
        with record_function("sampling"):
            return draw(*arguments)

    def stepped() -> None:
        with record_function("optimizer"):
            step()

    grouped.draw, phases.step = drawn, stepped


def works(phases: Phases) -> dict[str, Callable[[], object]]:
    """The phases of an iteration, to be called one by one."""
    collected = phases.collect()
    parts: dict[str, Callable[[], object]] = {"rollout": phases.rollout}
    if phases.scorer.passes:
        parts["scoring"] = lambda: phases.score(collected)
    return {**parts, "update": lambda: phases.update(collected.batch)}


def listed(shares: dict[str, float], most: int) -> str:
    top = sorted(shares.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {share:.0%}" for name, share in top)


def main() -> None:
    """Profile one work and print a table by phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="lab", choices=list(WORKS))
    parser.add_argument("--objective", default="rlsd", choices=list(OBJECTIVES))
    parser.add_argument("--teacher", type=float, default=2.0, help="privileged text, in lengths of a completion")
    parser.add_argument("--turns", type=int, default=3, help="timed without the profiler; the least counts")
    parser.add_argument("--top", type=int, default=6, help="operations shown for each phase")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = WORKS[options.work]
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(work, Path(folder))
        phases = Phases(work, model, OBJECTIVES[options.objective](), int(options.teacher * work.completion))
    parts = works(phases)
    taken = {name: min(seconds(run) for _ in range(options.turns)) for name, run in parts.items()}
    marked(phases)
    shares = {name: profiled(run) for name, run in parts.items()}
    console, total = Console(), sum(taken.values())
    titles = sorted({title for by_group, _ in shares.values() for title in by_group})
    table = Table("share of a phase", *parts, title=f"{options.work}, {options.objective}: CPU seconds by phase")
    table.add_row("seconds (share of the iteration)", *(f"{t:.3f} ({t / total:.0%})" for t in taken.values()))
    for title in titles:
        table.add_row(title, *(f"{shares[name][0].get(title, 0.0):.0%}" for name in parts))
    console.print(table)
    for name, (_, by_operation) in shares.items():
        console.print(f"{name}: {listed(by_operation, options.top)}")


if __name__ == "__main__":
    main()
