"""Run folders: where a run writes, and how it is found again."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlsd_pl.persistence.checkpoints import iteration_of, newest_good, saved
from rlsd_pl.persistence.lock import RunLock
from rlsd_pl.persistence.records import FINISHED, finished_at
from rlsd_pl.persistence.storage import check_temporary, check_writable, remove

log = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
RUN_DIR_VARIABLE = "RLSD_PL_RUN_DIR"
"""Set by the first process, so that the processes it starts write into the same folder."""

CHECKPOINT_VARIABLE = "RLSD_PL_CHECKPOINT"
"""Set by the first process of a resumed run to the checkpoint that it has verified."""

RUNS = Path("runs")

LOG_FILE = "log.txt"
"""What a run printed, kept in its folder by whoever started it."""

History = dict[str, dict[int, float]]
"""Logged series: key, iteration, value."""


OWN = (
    *(CONFIG_FILE, "data.json", "rollouts.jsonl", "learning_curve.png", "leakage.png", "evaluation.json", FINISHED),
    *("csv", "tensorboard", "wandb", "mlruns", "logger_id.txt", "checkpoints"),
)
"""What a run writes into its folder beside ``hf/``, which only a finished one has."""


@dataclass
class RunFolder:
    """A run's folder. :meth:`claim` makes this process its owner; leaving the context gives it back.

    Attributes:
        resumed: the run goes on.
        changes_allowed: also under settings that make it another run.
        checkpoint: to start from, once claimed; ``None`` for a new run.
        started: something has been sampled; what is in the folder is worth keeping.
    """

    path: Path
    resumed: bool = False
    changes_allowed: bool = False
    checkpoint: Path | None = None
    started: bool = False
    _lock: RunLock | None = None
    _created: Sequence[Path] = ()

    @classmethod
    def from_arguments(cls, argv: list[str], presets: Mapping[str, str]) -> tuple[list[str], RunFolder]:
        """Take ``--run_dir``, ``--resume`` and ``--resume_changes`` out of the arguments. Touches nothing yet.

        Args:
            presets: name a folder that is not given.

        Raises:
            ValueError: if the folder already holds a run, or there is nothing to resume.
        """
        run_dir, argv = take_option(argv, "run_dir")
        resume, argv = take_option(argv, "resume")
        changes, argv = take_option(argv, "resume_changes", "allow")
        if changes not in (None, "allow") or (changes and resume is None):
            raise ValueError(f"--resume_changes got {changes!r}; expected 'allow', together with --resume FOLDER.")
        if resume is not None:
            if run_dir is not None:
                raise ValueError("Got both --run_dir and --resume; a resumed run goes on in its own folder. Drop one.")
            folder = newest_run() if resume == "last" else Path(resume)
            require_a_finished_iteration(folder)
            return argv, cls(folder, resumed=True, changes_allowed=changes is not None)
        path = Path(run_dir) if run_dir else _default_path(presets)
        if is_first_process():
            _refuse_a_present_run(path)
        os.environ[RUN_DIR_VARIABLE] = str(path)
        return argv, cls(path)

    @property
    def iteration(self) -> int:
        """The last one that counts when the run begins here: 0 for a new run."""
        return 0 if self.checkpoint is None else iteration_of(self.checkpoint)

    def claim(self) -> None:
        """Lock the folder, choose the checkpoint to go on from, or clear what a start without an iteration has left.

        The processes that the first one starts are told its choice.

        Raises:
            ValueError: if another process writes here, or no checkpoint is whole.
            StorageError: if the folder cannot be written.
        """
        if not is_first_process():
            chosen = os.environ.get(CHECKPOINT_VARIABLE)
            self.checkpoint = (Path(chosen) if chosen else newest_checkpoint(self.path)) if self.resumed else None
            return
        check_temporary()
        self._created = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        check_writable(self.path)
        self._lock = RunLock(self.path)
        if self._lock.left_by is not None:
            log.warning(
                "%s was last written by %s, which did not end it. Make sure that it no longer runs.",
                self.path,
                self._lock.left_by,
            )
        if self.resumed:
            self.checkpoint = newest_checkpoint(self.path)
            os.environ[CHECKPOINT_VARIABLE] = str(self.checkpoint)
        else:
            _refuse_a_present_run(self.path)
            self._clear()

    def check(self) -> None:
        """Raise a StorageError if the folder was deleted or replaced since :meth:`claim`."""
        if self._lock is not None:
            self._lock.check()

    def _clear(self) -> None:
        for name in OWN:
            remove(self.path / name)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the folder back. A new run that never started leaves nothing of its own behind."""
        if self._lock is None:
            return
        with suppress(OSError):
            if not self.resumed and not self.started:
                self._clear()
            self._lock.release()
            for folder in [] if self.started else self._created:
                folder.rmdir()
        self._lock = None


def _refuse_a_present_run(path: Path) -> None:
    if saved(path / "checkpoints"):
        raise ValueError(
            f"{path} already holds a run. Set --run_dir to another folder, or --resume {path} to go on with it."
        )
    if (path / "hf").exists() or finished_iterations(read_history(path)) > 1:
        raise ValueError(
            f"{path} already holds a run, but not its checkpoints. Set --run_dir to another folder, or delete it."
        )


def require_a_finished_iteration(folder: Path) -> None:
    """Refuse to go on with what never finished an iteration, and say what to do instead.

    Raises:
        ValueError: if there is none.
    """
    if not saved(folder / "checkpoints") or not (folder / CONFIG_FILE).exists():
        raise ValueError(
            f"{folder} holds no run with a finished iteration, so there is nothing to go on with. Start it again with "
            f"all its flags and --run_dir {folder}, or set --resume to another run folder, or to 'last'."
        )


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint of the last finished iteration, verified; an older one if that one is damaged.

    Raises:
        ValueError: if there is none.
    """
    require_a_finished_iteration(folder)
    return newest_good(folder / "checkpoints")


def newest_run(root: Path = RUNS) -> Path:
    """The run folder under ``root`` that was started last and has a finished iteration."""
    runs = [path.parent for path in root.glob(f"*/{CONFIG_FILE}") if saved(path.parent / "checkpoints")]
    if not runs:
        raise ValueError(f"--resume last found no run with a finished iteration under {root.resolve()}.")
    return max(runs, key=lambda path: (path / CONFIG_FILE).stat().st_mtime)


def is_first_process() -> bool:
    """True for the one process of a run that writes; known before any process group is."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID"))


def _default_path(presets: Mapping[str, str]) -> Path:
    if not is_first_process() and RUN_DIR_VARIABLE in os.environ:
        return Path(os.environ[RUN_DIR_VARIABLE])
    if any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")):
        raise ValueError("Processes that a launcher starts must agree on a folder: set --run_dir.")
    task = Path(presets["task"]).stem
    objective = presets["objective"].rpartition(".")[2]
    return RUNS / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{objective}-{task}"


def take_option(argv: list[str], name: str, expected: str = "a folder") -> tuple[str | None, list[str]]:
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
            raise ValueError(f"--{name} got no value; expected {expected}.")
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
    """The last iteration that was trained on, by its record; that of its evaluation is written earlier."""
    return max(history.get("rollout/reward", {}), default=0)


def is_finished(folder: Path) -> bool:
    """True if the run has trained and saved all iterations that its configuration plans, and what follows them."""
    finished = finished_at(folder)
    planned = planned_iterations(folder) if finished else None
    return planned is not None and finished >= planned
