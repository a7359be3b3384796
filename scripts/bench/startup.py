"""Seconds until a command has answered, of the clock and of the CPU: help, the configuration, the demo's first rollout.

python scripts/bench/startup.py [--turns 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

FIT = str(Path(__file__).resolve().parents[1] / "fit.py")

FIRST_ROLLOUT = """
import os, sys
from rlsd_pl.datamodule import RolloutDataModule

collected = RolloutDataModule.train_dataloader

def first(self):
    collected(self)
    os._exit(0)

RolloutDataModule.train_dataloader = first
from rlsd_pl.commands.cli import fit
fit(sys.argv[1:])
"""
"""The command up to the end of its first rollout."""

DEMO = ["--objective", "rlsd", "--trainer", "cpu"]

COMMANDS = {
    "fit.py --help": [FIT, "--help"],
    "fit.py --print_config": [FIT, *DEMO, "--print_config"],
    "the demo's first rollout, without the evaluation before it": [
        *("-c", FIRST_ROLLOUT, *DEMO, "--data.val_before_training", "false"),
    ],
    "the demo's first rollout, after the evaluation before it": ["-c", FIRST_ROLLOUT, *DEMO],
}


def taken(command: list[str]) -> tuple[float, float]:
    """Seconds until it ends, and those that it computed."""
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    return after.elapsed - before.elapsed, computed


def main() -> None:
    """Each command in turn; a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    table = Table("command", "clock: least", "median", "most", "CPU: least", title="seconds")
    measured = {name: [taken(command) for _ in range(turns)] for name, command in COMMANDS.items()}
    for name, values in measured.items():
        clock, computed = zip(*values, strict=True)
        shown = (min(clock), statistics.median(clock), max(clock), min(computed))
        table.add_row(name, *(f"{value:.1f}" for value in shown))
    Console().print(table)


if __name__ == "__main__":
    main()
