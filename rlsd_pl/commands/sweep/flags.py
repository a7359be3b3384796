"""Flags are tried on ``fit`` before a sweep begins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from rlsd_pl.commands.presets import expand
from rlsd_pl.commands.sweep.axes import label
from rlsd_pl.commands.sweep.grid import Grid
from rlsd_pl.commands.sweep.launch import FIT, fit_arguments

DRY_RUN = ("-m", "rlsd_pl.commands.sweep.dry_run")
"""Arguments of Python that start the process in which flags are tried."""


def check_flags(grid: Grid, program: Sequence[str] = FIT) -> None:
    """Let ``program`` parse each objective's flags without training, in one process of its own.

    Raises:
        ValueError: with the first complaint.
    """
    probes = grid.probes()
    calls = [fit_arguments(run, grid.flags) for run in probes]
    for arguments in calls:
        expand(arguments)  # a misspelt preset needs no process to be found
    asked = json.dumps([list(program), [[*arguments, "--print_config"] for arguments in calls]])
    child = subprocess.run([sys.executable, *DRY_RUN], input=asked, capture_output=True, text=True, check=False)
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    if len(answers) < len(probes) and not any(answers):  # it died in the next one
        answers.append(f"{child.stderr}\nIt ended with exit status {child.returncode}.".strip())
    for run, complaint in zip(probes, answers, strict=False):
        if complaint:
            varied = f" with {label(run.setting)}" if run.setting else ""
            raise ValueError(f"fit does not accept these flags for {run.objective}{varied}.\n{complaint}")
