"""Decoding and update against the floor that memory bandwidth and matrix rate of one thread set; the share reached.

python scripts/bench/floor.py [--work lab|28m] [--turns 5] [--threads 1]

A step of decoding has to read all weights once and to multiply each by every row: its floor is the larger of bytes over
bandwidth and operations over rate. An update has to compute a forward and twice as much for the backward. Bandwidth is
that of reading a large tensor, the rate that of a large product of matrices; both are the best of several.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from phases import Phases
from profiling import listed, marked, profiled
from rich.console import Console
from rich.table import Table
from turns import seconds
from works import WORKS, write_model

from rlsd_pl import RLVR
from rlsd_pl.rollout.flops import ModelFlops
from rlsd_pl.rollout.micro_batches import RowLengths

BUFFER = 2**26
"""Floats that are read for the bandwidth: 256 MB, far beyond any cache."""
SIDE = 1536
"""Of the square matrices that are multiplied for the rate."""
REPEATS = 5


def bandwidth() -> float:
    """Bytes per second of reading."""
    numbers = torch.ones(BUFFER)
    return 4 * BUFFER / min(seconds(numbers.sum) for _ in range(REPEATS))


def matrix_rate(rows: int, inner: int, columns: int) -> float:
    """Floating-point operations per second of a product [rows, inner] x [inner, columns]."""
    left, right = torch.randn(rows, inner), torch.randn(columns, inner)
    repeats = max(1, int(2e9 / (2 * rows * inner * columns)))

    def products() -> None:
        for _ in range(repeats):
            torch.nn.functional.linear(left, right)

    return 2 * rows * inner * columns * repeats / min(seconds(products) for _ in range(REPEATS))


def decoding_floor(phases: Phases, flops: float, steps: int, speed: float, rate: float) -> tuple[float, float]:
    """Seconds that reading the weights in every step takes, and that all operations take."""
    weights = sum(p.numel() * p.element_size() for p in phases.policy.parameters())
    return steps * weights / speed, flops / rate


def main() -> None:
    """Measure, and print both floors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="28m", choices=list(WORKS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = WORKS[options.work]
    with tempfile.TemporaryDirectory() as folder:
        phases = Phases(work, write_model(work, Path(folder)), RLVR())
    speed, rate = bandwidth(), matrix_rate(SIDE, SIDE, SIDE)
    outputs: Any = phases.policy.causal_lm.get_output_embeddings()
    head = outputs.weight
    rows = work.prompts * work.group
    thin = matrix_rate(rows, head.shape[1], head.shape[0])
    console = Console()
    console.print(
        f"reading {speed / 1e9:.1f} GB/s; products {rate / 1e9:.0f} GFLOP/s square, {thin / 1e9:.0f} GFLOP/s "
        f"of {rows} rows with the head"
    )
    batch = phases.collect().batch
    model = ModelFlops.of(phases.policy)
    assert model is not None
    lengths = RowLengths.of(batch.prompts, batch.completions, shared=True)
    reading, computing = decoding_floor(phases, model.forward(lengths), batch.completions.ids.shape[1], speed, rate)
    floors = {"rollout": max(reading, computing), "update": model.update(lengths) / rate}
    runs = {"rollout": phases.rollout, "update": lambda: phases.update(batch)}
    taken = {name: min(seconds(run) for _ in range(options.turns)) for name, run in runs.items()}
    marked(phases)
    table = Table("", "floor, s", "taken, s", "share of the floor reached", "what the time goes to", title=options.work)
    for name, run in runs.items():
        share = floors[name] / taken[name]
        table.add_row(name, f"{floors[name]:.3f}", f"{taken[name]:.3f}", f"{share:.0%}", listed(profiled(run)[0], 6))
    console.print(table)
    console.print(f"rollout: reading the weights {reading:.3f} s, operations {computing:.3f} s")


if __name__ == "__main__":
    main()
