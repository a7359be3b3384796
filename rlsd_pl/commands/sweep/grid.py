"""Which runs a sweep consists of, and whether its folder is the right one for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rlsd_pl.commands.sweep.axes import Axis, Setting, label, probes, settings

RECORD = "sweep.json"
"""In the sweep's folder: the fit flags that all its runs share, and the arguments that it was last called with."""

RUNS = "runs.csv"
"""In the sweep's folder: a line for each run, which it was run for (``use``) among them."""

REPORTED, CHOOSING = "report", "choose"
"""What a run is for: the comparison, or the choice of settings."""

TAKEN = {
    "objective": "--objectives",
    "seed_everything": "--seeds",
    "run_dir": "--sweep_dir",
    "resume": "--sweep_dir",
}
"""Fit flags that differ between the runs of a sweep, and what to set instead."""


@dataclass(frozen=True)
class Run:
    """One cell of the grid.

    Attributes:
        objective: preset, class or file.
        seed: of problems, sampling and initialisation.
        folder: of the run.
        setting: its values of the flags that the grid varies.
    """

    objective: str
    seed: int
    folder: Path
    setting: Setting = ()

    @property
    def name(self) -> str:
        """For people."""
        return " ".join(filter(None, (objective_name(self.objective), label(self.setting), f"seed {self.seed}")))


@dataclass(frozen=True)
class Grid:
    """Runs that differ in objective and seed, and in what each objective's setting was chosen to be.

    Attributes:
        folder: of the sweep; the runs lie in ``folder/OBJECTIVE/seed-N``, with axes in
            ``folder/OBJECTIVE/SETTING/seed-N``.
        seeds: that are reported.
        flags: for ``fit.py``, the same for all runs.
        axes: values by flag, of which each objective gets its own best.
        select_seeds: on which that is chosen; none of those that are reported.

    Raises:
        ValueError: for flags that the sweep sets itself, for runs that would share a folder, and for a setting that
            would be chosen on the seeds that it is reported on.
    """

    folder: Path
    objectives: Sequence[str]
    seeds: Sequence[int]
    flags: Sequence[str] = ()
    axes: Mapping[str, Axis] = field(default_factory=dict[str, Axis])
    select_seeds: Sequence[int] = ()

    def __post_init__(self) -> None:
        names = [flag.partition("=")[0].removeprefix("--") for flag in self.flags if flag.startswith("--")]
        for name in (*names, *self.axes):
            if name in TAKEN:
                raise ValueError(f"Got --{name}, which differs between the runs of a sweep; set {TAKEN[name]} instead.")
        self._check_seeds()
        folders = [run.folder for run in self.runs]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ValueError(
                    f"Two runs would write into {folder}; expected objectives of different names and different seeds."
                )

    def _check_seeds(self) -> None:
        if bool(self.axes) != bool(self.select_seeds):
            got = ", ".join(f"--grid.{name}" for name in self.axes) or "--select_seeds"
            raise ValueError(
                f"Got {got} alone; expected --grid.FLAG VALUES together with --select_seeds, the seeds on which each "
                "objective's own values are chosen."
            )
        if shared := sorted(set(self.seeds) & set(self.select_seeds)):
            raise ValueError(
                f"Got the seeds {', '.join(map(str, shared))} in --seeds and in --select_seeds; expected other ones to "
                "choose on than to report, or the chosen setting would look better than it is."
            )

    @property
    def runs(self) -> list[Run]:
        """The reported runs of a sweep without axes."""
        return self.reported(dict.fromkeys(self.objectives, ()))

    def reported(self, chosen: Mapping[str, Setting]) -> list[Run]:
        """Seeds outermost, so that an unfinished sweep holds all objectives on the first seeds.

        Args:
            chosen: by objective; one that is absent has no runs.
        """
        return [self.run(o, seed, chosen[o]) for seed in self.seeds for o in self.objectives if o in chosen]

    def candidates(self) -> list[Run]:
        """Every setting of every objective on the seeds that settings are chosen on."""
        every = settings({name: cast(Sequence[str], axis) for name, axis in self.axes.items()})
        return [self.run(o, seed, s) for seed in self.select_seeds for s in every for o in self.objectives]

    def probes(self) -> list[Run]:
        """Runs that hold every objective with every value of every axis."""
        return [self.run(o, self.seeds[0], setting) for o in self.objectives for setting in probes(self.axes)]

    def run(self, objective: str, seed: int, setting: Setting) -> Run:
        """One cell with its folder."""
        folder = self.folder / objective_name(objective)
        if setting:
            folder /= label(setting).replace("/", "_")
        return Run(objective, seed, folder / f"seed-{seed}", setting)

    def claim(self, argv: Sequence[str] = ()) -> None:
        """Record flags and ``argv`` in the sweep's folder, after comparing the flags with those recorded there.

        Raises:
            ValueError: if the folder holds something else, or a sweep with other flags.
        """
        path = self.folder / RECORD
        if not path.exists() and self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} holds files but no sweep. Set --sweep_dir to a new or an empty folder.")
        if path.exists() and (recorded := json.loads(path.read_text())["flags"]) != list(self.flags):
            raise ValueError(
                f"{self.folder} holds a sweep with other flags.\n"
                f"  got:      {' '.join(self.flags) or '(none)'}\n"
                f"  recorded: {' '.join(recorded) or '(none)'}\n"
                "Repeat the recorded flags to go on with it (objectives, seeds and values of --grid may be added), or "
                "set --sweep_dir to another folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"flags": list(self.flags), "argv": list(argv)}, indent=2) + "\n")


def objective_name(objective: str) -> str:
    """Short name of a preset, an import path (its class) or a YAML file (its stem)."""
    path = Path(objective)
    return path.stem if path.suffix in (".yaml", ".yml") else objective.rpartition(".")[2]
