"""Run folders: where a run writes, and how it is found again."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIG_FILE = "config.yaml"
RUN_DIR_VARIABLE = "RLSD_PL_RUN_DIR"
"""Set by the first process, so that the processes it starts write into the same folder."""

RUNS = Path("runs")

LOG_FILE = "log.txt"
"""What a run printed, kept in its folder by whoever started it."""

History = dict[str, dict[int, float]]
"""Logged series: key, iteration, value."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and, when it goes on, the checkpoint to start from."""

    path: Path
    checkpoint: str | None = None

    @classmethod
    def from_arguments(cls, argv: list[str], presets: Mapping[str, str]) -> tuple[list[str], RunFolder]:
        """Take ``--run_dir`` and ``--resume`` out of the arguments; ``presets`` name a folder that is not given.

        Raises:
            ValueError: if the folder already holds a run, or there is nothing to resume.
        """
        run_dir, argv = take_option(argv, "run_dir")
        resume, argv = take_option(argv, "resume")
        if resume is not None:
            if run_dir is not None:
                raise ValueError("Got both --run_dir and --resume; a resumed run goes on in its own folder. Drop one.")
            folder = newest_run() if resume == "last" else Path(resume)
            return argv, cls(folder, str(newest_checkpoint(folder)))
        path = Path(run_dir) if run_dir else _default_path(presets)
        if _is_first_process() and ((path / CONFIG_FILE).exists() or (path / "checkpoints").exists()):
            raise ValueError(
                f"{path} already holds a run. Set --run_dir to another folder, or --resume {path} to go on with it."
            )
        os.environ[RUN_DIR_VARIABLE] = str(path)
        return argv, cls(path)

    def remove_if_empty(self) -> None:
        """Leave nothing of its own behind when a run did not start; the log is its starter's."""
        if self.path.is_dir() and not any(self.path.rglob("*.ckpt")) and not (self.path / "csv").exists():
            clear(self.path)
            if not any(self.path.iterdir()):
                self.path.rmdir()


def clear(folder: Path) -> None:
    """Empty a run folder, but for its log."""
    for entry in sorted(folder.rglob("*"), reverse=True):
        if entry.is_dir():
            entry.rmdir()
        elif entry != folder / LOG_FILE:
            entry.unlink()


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint of the last finished iteration.

    Raises:
        ValueError: if there is none.
    """
    complete = [
        path
        for path in (folder / "checkpoints").glob("*.ckpt")
        if path.is_file() or (path / "meta.pt").exists()  # a sharded checkpoint writes its meta file last
    ]
    if not complete or not (folder / CONFIG_FILE).exists():
        raise ValueError(
            f"{folder} holds no run with a finished iteration. Expected {folder / CONFIG_FILE} and a checkpoint under "
            f"{folder / 'checkpoints'}; set --resume to a run folder, or to 'last'."
        )
    return max(complete, key=lambda path: path.stat().st_mtime)


def newest_run(root: Path = RUNS) -> Path:
    """The run folder under ``root`` that was started last and has a finished iteration."""
    runs = [path.parent for path in root.glob(f"*/{CONFIG_FILE}") if any((path.parent / "checkpoints").glob("*.ckpt"))]
    if not runs:
        raise ValueError(f"--resume last found no run with a finished iteration under {root.resolve()}.")
    return max(runs, key=lambda path: (path / CONFIG_FILE).stat().st_mtime)


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID"))


def _default_path(presets: Mapping[str, str]) -> Path:
    if not _is_first_process() and RUN_DIR_VARIABLE in os.environ:
        return Path(os.environ[RUN_DIR_VARIABLE])
    if any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")):
        raise ValueError("Processes that a launcher starts must agree on a folder: set --run_dir.")
    task = Path(presets["task"]).stem
    objective = presets["objective"].rpartition(".")[2]
    return RUNS / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{objective}-{task}"


def take_option(argv: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of one option, and the arguments without it.

    Raises:
        ValueError: if it stands there without a value.
    """
    rest: list[str] = []
    value = None
    arguments = iter(argv)
    for argument in arguments:
        flag, equals, given = argument.partition("=")
        if flag != f"--{name}":
            rest.append(argument)
            continue
        value = given if equals else next(arguments, "")
        if not value or value.startswith("--"):
            raise ValueError(f"--{name} got no value; expected a folder.")
    return value, rest


def read_history(folder: Path) -> History:
    """Every logged series of a run, by key and iteration. After a resume the later record of an iteration counts."""
    history: History = {}
    versions = sorted((folder / "csv").glob("version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1]))
    for path in versions:
        with path.open(newline="") as file:
            complete = (line for line in file if line.endswith("\n"))  # the last one may just be being written
            for row in csv.DictReader(complete):
                iteration = int(row.pop("step"))
                for key, value in row.items():
                    if value not in ("", None):
                        history.setdefault(key, {})[iteration] = float(value)
    return history


def planned_iterations(folder: Path) -> int | None:
    """``trainer.max_epochs`` of the run's resolved configuration; ``None`` before it is written, or without a limit."""
    import yaml

    path = folder / CONFIG_FILE
    config = yaml.safe_load(path.read_text()) if path.exists() else None
    planned = config["trainer"]["max_epochs"] if config else None
    return planned if planned and planned > 0 else None


def finished_iterations(history: History) -> int:
    """The last iteration that was trained on and saved.

    Its training record counts, not its evaluation: that one is written earlier, before the checkpoint.
    """
    return max(history.get("rollout/reward", {}), default=0)


def is_finished(folder: Path) -> bool:
    """True if the run has trained and saved all iterations that its configuration plans."""
    finished = finished_iterations(read_history(folder))
    planned = planned_iterations(folder) if finished else None
    return planned is not None and finished >= planned
