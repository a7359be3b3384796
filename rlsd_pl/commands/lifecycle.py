"""The beginning and the end of a run as seen from its folder and from the shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from rlsd_pl.commands.fingerprint import differences, fingerprint, record
from rlsd_pl.commands.parser import DEBUG_VARIABLE
from rlsd_pl.commands.runs import RunFolder, is_first_process
from rlsd_pl.persistence.checkpoints import iteration_of, saved
from rlsd_pl.persistence.records import cut_back, write_finished
from rlsd_pl.persistence.stop import Stopped
from rlsd_pl.persistence.storage import STORAGE_STATUS, StorageError, concerns
from rlsd_pl.tasks.base import Task


class RunStart(Callback):
    """Cuts the records of a resumed run back to its checkpoint when training begins, when nothing can refuse it."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.run.started = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.run.started = True
        if self.run.resumed and trainer.is_global_zero:
            cut_back(self.run.path, self.run.iteration)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.run.check()


def hold_data(run: RunFolder, task: Task) -> None:
    """Record what a new run's data looks like; compare it for one that goes on.

    Raises:
        ValueError: if they differ, unless changes are allowed.
    """
    if not is_first_process():
        return
    found = fingerprint(task)
    if run.resumed:
        other = differences(run.path, found)
        if other and not run.changes_allowed:
            raise ValueError(
                f"The data is not what {run.path} was started with: {'; '.join(other)}. Restore it, start a new run "
                "with --run_dir, or say --resume_changes allow if that is what you want."
            )
        if not other:
            return
    record(run.path, found)


def finish(run: RunFolder, trainer: Trainer) -> None:
    """Note that the run has come to its end and nothing is missing."""
    if is_first_process() and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        write_finished(run.path, trainer.current_epoch)


@contextmanager
def reported(run: RunFolder) -> Iterator[None]:
    """Leave the process with a message and a status of its own where a signal or the disk ends a run.

    128 + N for signal N, as shells have it; ``STORAGE_STATUS`` for the disk.
    """
    try:
        yield
    except BaseException as error:
        cause = _cause(error, run)
        if isinstance(cause, Stopped):
            _say(f"Stopped by {cause}. {how_to_go_on(run)}")
            sys.exit(cause.status)
        if cause is None or os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        _say(f"[bold red]error:[/] {_escape(str(cause))} {how_to_go_on(run)}")
        sys.exit(STORAGE_STATUS)


def _cause(error: BaseException, run: RunFolder) -> Stopped | StorageError | None:
    """The signal or the failure of the disk behind an error, which may have come up while another one was handled."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for found in reversed(chain):
        if isinstance(found, Stopped | StorageError):
            return found
    if isinstance(error, OSError) and concerns(error, run.path):
        return StorageError.of(error, run.path)
    return None


def how_to_go_on(run: RunFolder) -> str:
    """What is saved, and the command that goes on; empty where nothing was sampled yet."""
    checkpoints = saved(run.path / "checkpoints")
    if not checkpoints:
        return "No iteration was finished; start the run again with the same command." if run.started else ""
    done = iteration_of(checkpoints[0])
    return f"{done} iterations are saved; go on with: rlsd-pl fit --resume {run.path}"


def _say(text: str) -> None:
    if is_first_process():
        Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
