"""Time and peak memory of an iteration as completions, groups and vocabulary grow; exponents, and a picture.

python scripts/bench/growth.py [--axes T G V] [--turns 1] [--picture growth.png] [--threads 1]

Each point is a process of its own: a random Qwen3 of 4 layers, width 128, one prompt. Memory is the most of that
process less what it had before the iteration. The exponent is the slope of the upper half of the points in logarithms:
1 is in proportion.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

AXES = {
    "T": [64, 128, 256, 512, 1024, 2048],
    "G": [4, 8, 16, 32, 64],
    "V": [1_024, 4_096, 16_384, 49_152, 151_936],
}
"""Completion tokens, completions of a prompt, vocabulary."""

START = {"T": 64, "G": 4, "V": 16_384}
"""Of what does not grow."""

PHASES = ("rollout", "scoring", "update")


def child(sizes: dict[str, int], turns: int) -> None:
    """Measure one point and print it."""
    import torch
    from phases import Phases
    from turns import seconds
    from works import Work, write_model

    from rlsd_pl import RLSD

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    shape = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 32, "vocab_size": sizes["V"]}
    work = Work("growth", shape, prompts=1, group=sizes["G"], prompt_words=32, completion=sizes["T"])
    with tempfile.TemporaryDirectory() as folder:
        phases = Phases(work, write_model(work, Path(folder)), RLSD(), privileged=32)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    collected = phases.collect()
    runs = {
        "rollout": phases.rollout,
        "scoring": lambda: phases.score(collected),
        "update": lambda: phases.update(collected.batch),
    }
    least = {name: min(seconds(run) for _ in range(turns)) for name, run in runs.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**least, "memory": (peak - before) / 1e6}), flush=True)


def measured(sizes: dict[str, int], turns: int, threads: int) -> dict[str, float]:
    """Seconds by phase, and MB, in a process of its own."""
    command = [sys.executable, __file__, "--turns", str(turns), "--child", json.dumps(sizes)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{sizes} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope in logarithms over the upper half of the points."""
    import numpy as np

    upper = slice(len(sizes) // 2 - 1, None)
    return float(np.polyfit(np.log(sizes[upper]), np.log(values[upper]), 1)[0])


def draw(points: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Seconds and memory over each axis, both in logarithms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(points), 5.5), layout="constrained")
    panels: Any = figure.subplots(2, len(points), squeeze=False)
    for column, (axis, values) in enumerate(points.items()):
        for phase in PHASES:
            panels[0][column].loglog(AXES[axis], values[phase], marker="o", label=phase)
        panels[1][column].loglog(AXES[axis], values["memory"], marker="o", color="black")
        for panel in panels[:, column]:
            panel.set_xticks(AXES[axis], [f"{value:,}" for value in AXES[axis]], fontsize=8)
            panel.minorticks_off()
        panels[1][column].set_xlabel({"T": "completion tokens", "G": "completions", "V": "vocabulary"}[axis])
    panels[0][0].set_ylabel("CPU seconds")
    panels[1][0].set_ylabel("peak memory, MB")
    panels[0][0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """All points; a table with exponents, and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES))
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--picture", type=Path, default=Path("growth.png"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(json.loads(options.child), options.turns)
    points: dict[str, dict[str, list[float]]] = {}
    table = Table("axis", "size", *(f"{phase}, s" for phase in PHASES), "memory, MB", title="one iteration of RLSD")
    for axis in options.axes:
        rows = [measured({**START, axis: size}, options.turns, options.threads) for size in AXES[axis]]
        points[axis] = {name: [row[name] for row in rows] for name in (*PHASES, "memory")}
        for size, row in zip(AXES[axis], rows, strict=True):
            table.add_row(axis, f"{size:,}", *(f"{row[phase]:.2f}" for phase in PHASES), f"{row['memory']:.0f}")
        slopes = [f"{exponent(AXES[axis], values):.2f}" for values in points[axis].values()]
        table.add_row(axis, "exponent", *slopes, end_section=True)
    Console().print(table)
    draw(points, options.picture)
    return None


if __name__ == "__main__":
    main()
