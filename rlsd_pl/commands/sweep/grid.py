"""Which runs a sweep consists of, and whether its folder is the right one for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = "sweep.json"
"""In the sweep's folder: the fit flags that all its runs share."""

TAKEN = {
    "objective": "--objectives",
    "seed_everything": "--seeds",
    "run_dir": "--sweep_dir",
    "resume": "--sweep_dir",
}
"""Fit flags that differ between the runs of a sweep, and what to set instead."""


@dataclass(frozen=True)
class Run:
    """One cell of the grid: an objective (preset, class or file), a seed, and the folder of the run."""

    objective: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class Grid:
    """A grid of runs that differ in objective and seed alone.

    Attributes:
        folder: of the sweep; the runs lie in ``folder/OBJECTIVE/seed-N``.
        flags: for ``fit.py``, the same for all runs.

    Raises:
        ValueError: for flags that the sweep sets itself, and for runs that would share a folder.
    """

    folder: Path
    objectives: Sequence[str]
    seeds: Sequence[int]
    flags: Sequence[str] = ()

    def __post_init__(self) -> None:
        for flag in self.flags:
            name = flag.partition("=")[0].removeprefix("--")
            if flag.startswith("--") and name in TAKEN:
                raise ValueError(f"Got --{name}, which differs between the runs of a sweep; set {TAKEN[name]} instead.")
        folders = [run.folder for run in self.runs]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ValueError(
                    f"Two runs would write into {folder}; expected objectives of different names and different seeds."
                )

    @property
    def runs(self) -> list[Run]:
        """Seeds outermost, so that an unfinished sweep holds all objectives on the first seeds."""
        return [
            Run(objective, seed, self.folder / objective_name(objective) / f"seed-{seed}")
            for seed in self.seeds
            for objective in self.objectives
        ]

    def claim(self) -> None:
        """Record the flags in the sweep's folder, or compare them with those recorded there.

        Raises:
            ValueError: if the folder holds something else, or a sweep with other flags.
        """
        path = self.folder / RECORD
        if not path.exists():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise ValueError(
                    f"{self.folder} holds files but no sweep. Set --sweep_dir to a new or an empty folder."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"flags": list(self.flags)}, indent=2) + "\n")
            return
        recorded = json.loads(path.read_text())["flags"]
        if recorded != list(self.flags):
            raise ValueError(
                f"{self.folder} holds a sweep with other flags.\n"
                f"  got:      {' '.join(self.flags) or '(none)'}\n"
                f"  recorded: {' '.join(recorded) or '(none)'}\n"
                "Repeat the recorded flags to go on with it (objectives and seeds may be added), or set --sweep_dir to "
                "another folder."
            )


def objective_name(objective: str) -> str:
    """Short name of a preset, an import path (its class) or a YAML file (its stem)."""
    path = Path(objective)
    return path.stem if path.suffix in (".yaml", ".yml") else objective.rpartition(".")[2]
