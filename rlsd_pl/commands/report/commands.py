"""The commands that give the runs of a report again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from rlsd_pl.commands.report.load import Run, sweep_of
from rlsd_pl.commands.report.study import Study
from rlsd_pl.commands.runs import CONFIG_FILE
from rlsd_pl.commands.sweep.grid import RECORD

Said = tuple[str, Sequence[str]]
"""What the lines do, and the lines."""


def commands(study: Study, argv: Sequence[str]) -> list[Said]:
    """This page, each sweep, and each run by itself from its resolved configuration."""
    sweeps = dict.fromkeys(sweep for run in study.runs if (sweep := sweep_of(run.folder)) is not None)
    return [
        ("This page", [shlex.join(["rlsd-pl", "report", *argv])]),
        *((f"The sweep in {sweep}", [_sweep(sweep, study.runs)]) for sweep in sweeps),
        ("Each run from its resolved configuration", [_fit(run) for run in study.runs]),
    ]


def _sweep(sweep: Path, runs: Sequence[Run]) -> str:
    record = json.loads((sweep / RECORD).read_text())
    if record.get("argv"):
        return shlex.join(["rlsd-pl", "sweep", *record["argv"]])
    own = [run for run in runs if sweep_of(run.folder) == sweep]
    objectives = ",".join(dict.fromkeys(run.folder.absolute().relative_to(sweep).parts[0] for run in own))
    seeds = ",".join(map(str, sorted({run.seed for run in own})))
    return shlex.join(["rlsd-pl", "sweep", "--objectives", objectives, "--seeds", seeds, *record["flags"]])


def _fit(run: Run) -> str:
    return shlex.join(["rlsd-pl", "fit", "--config", str(run.folder / CONFIG_FILE), "--run_dir", "NEW_FOLDER"])
