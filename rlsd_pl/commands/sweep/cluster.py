"""Runs as jobs of a SLURM cluster, through submitit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlsd_pl.commands.runs import LOG_FILE, RUN_DIR_VARIABLE
from rlsd_pl.commands.sweep.axes import take_prefixed
from rlsd_pl.commands.sweep.grid import Run
from rlsd_pl.commands.sweep.launch import FIT, run_arguments
from rlsd_pl.persistence.lock import refuse_if_held

PREFIX = "cluster."
CLUSTERS = ("slurm", "local")
"""Executors of submitit: a SLURM cluster, or processes of this machine that look like one."""

FOLDER = "jobs"
"""In the sweep's folder: what submitit writes, one file or more a job."""

POLL_SECONDS = 0.5
GRACE_SECONDS = 15.0
LOST = 1
"""Exit status of a job that ended without one: cancelled, out of memory, or out of its time once too often."""


@dataclass
class FitJob:
    """What a job of the cluster does: begin a run, or go on with it. Called by submitit, there.

    A job whose time is over, or that is preempted, lets its run leave and is queued again: it then goes on after the
    last finished iteration.

    Attributes:
        run: what is run.
        flags: for ``fit.py``.
        program: arguments of Python that start a run.
    """

    run: Run
    flags: Sequence[str]
    program: Sequence[str] = FIT
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __call__(self) -> int:
        """The exit status of the run."""
        self.run.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if name != RUN_DIR_VARIABLE}
        with (self.run.folder / LOG_FILE).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.program, *run_arguments(self.run, self.flags)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=kept,
            )
        try:
            return self._process.wait()
        except BaseException:
            self._interrupt()
            raise

    def checkpoint(self) -> Any:
        """The job to queue in place of this one."""
        from submitit.helpers import DelayedSubmission

        self._interrupt()
        return DelayedSubmission(FitJob(self.run, self.flags, self.program))

    # Newer versions of submitit call it by this name.
    __submitit_checkpoint__ = checkpoint

    def _interrupt(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()


@dataclass(frozen=True)
class ClusterJob:
    """A submitted run."""

    job: Any

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        error = self.job.exception()
        return self.job.result() if error is None else LOST

    def interrupt(self) -> None:
        self.job.cancel(check=False)

    def end(self, seconds: float) -> None:
        """Wait so long for it to leave; killing what then is still there is the cluster's."""
        deadline = time.monotonic() + seconds
        while not self.job.done() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class ClusterLauncher:
    """Submits runs.

    Attributes:
        executor: of submitit.
        flags: for ``fit.py``.
        program: arguments of Python that start a run.
    """

    executor: Any
    flags: Sequence[str]
    program: Sequence[str] = FIT

    def start(self, run: Run) -> ClusterJob:
        run.folder.mkdir(parents=True, exist_ok=True)
        refuse_if_held(run.folder)
        self.executor.update_parameters(name=f"{run.folder.parent.name}-{run.seed}"[:60])
        return ClusterJob(self.executor.submit(FitJob(run, self.flags, self.program)))


def make_executor(cluster: str, folder: Path | str, parameters: Mapping[str, Any]) -> Any:
    """An executor of submitit.

    Args:
        cluster: one of :data:`CLUSTERS`.
        folder: for what submitit writes; on SLURM one that all nodes see.
        parameters: of submitit's ``AutoExecutor``, for example ``slurm_partition``.

    Raises:
        ValueError: if submitit or the cluster is not there, or it does not know a parameter.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError(f"--cluster {cluster} needs submitit: pip install 'rlsd_pl[slurm]'.") from None
    if "timeout_min" not in parameters:
        raise ValueError(
            f"Got --cluster {cluster} without --{PREFIX}timeout_min; expected the minutes that a job may take. A run "
            "that takes longer goes on in another job, up to three times."
        )
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**parameters)
    except (AssertionError, NameError, RuntimeError) as error:
        raise ValueError(f"--cluster {cluster}: submitit says: {error}") from None
    return executor


def check(cluster: str | None, parameters: Mapping[str, Any]) -> None:
    """Whether :func:`make_executor` will do, without leaving anything behind.

    Raises:
        ValueError: if not, or for parameters without a cluster.
    """
    if cluster is not None:
        with TemporaryDirectory() as folder:
            make_executor(cluster, folder, parameters)
    elif parameters:
        raise ValueError(f"Got --{PREFIX}{next(iter(parameters))} without --cluster; set --cluster slurm as well.")


def take_parameters(flags: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parameters of submitit from ``--cluster.NAME VALUE``, and the other flags."""
    import yaml

    given, rest = take_prefixed(flags, PREFIX)
    return {name: yaml.safe_load(value) for name, value in given}, rest
