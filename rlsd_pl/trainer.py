"""A Lightning Trainer for rollouts: the same from Python and from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from rlsd_pl import callbacks
from rlsd_pl.callbacks import RolloutMetrics, SignalWatch
from rlsd_pl.loggers import TensorBoard
from rlsd_pl.persistence.iterations import IterationCheckpoint

LOOP: dict[str, Any] = {
    "reload_dataloaders_every_n_epochs": 1,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": -1,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 1,
    "enable_model_summary": False,
}
"""Trainer settings of a rollout loop: an epoch is an iteration with a rollout of its own, each process collects its
share, and the first evaluation is that of the initial policy."""

SHOWN = ("ConsoleReport",)
"""Callbacks of every run, beside leakage detection, which the command line sets by ``--leakage``."""

WRITTEN = ("RolloutLog", "SampleTable", "LearningCurve", "CreditMap", "HuggingFaceExport")
"""Callbacks that write into the run's folder."""


def rollout_trainer(run_dir: str | Path | None = None, max_iterations: int = 200, **settings: Any) -> Trainer:
    """A Trainer for a ``PolicyModule`` and a ``RolloutDataModule``; whatever ``settings`` say wins.

    Args:
        run_dir: where logs, checkpoints, sample rollouts, the learning curve and the exported model go; without one
            nothing is written.
        max_iterations: rollouts, each with its updates.
        settings: of :class:`lightning.pytorch.Trainer`. ``callbacks`` replaces the default ones (but for the metrics of
            rollouts and the checkpoint after each iteration), ``logger`` the CSV and TensorBoard ones.
    """
    given = {**LOOP, "max_epochs": max_iterations, **settings}
    folder = None if run_dir is None else Path(run_dir)
    chosen = given.get("callbacks")
    if chosen is None:
        chosen = default_callbacks(writing=folder is not None)
    elif isinstance(chosen, Callback):
        chosen = [chosen]
    given["callbacks"] = with_required(chosen, folder, given.get("enable_checkpointing"))
    if folder is None:
        return Trainer(**{"logger": False, "enable_checkpointing": False, **given})
    return Trainer(**{"default_root_dir": folder, "logger": TensorBoard().make(folder, 0, {}), **given})


def default_callbacks(writing: bool = True) -> list[Callback]:
    """New instances of the callbacks of a run."""
    return [getattr(callbacks, name)() for name in ("LeakageDetection", *SHOWN, *(WRITTEN if writing else ()))]


def with_required(given: Sequence[Callback], run_dir: Path | None, checkpoints: bool | None = True) -> list[Callback]:
    """The callbacks, one that logs each rollout, one that warns where nothing is learnt, and one that saves every
    iteration; what is there stays.

    Args:
        run_dir: no checkpoints without one.
        checkpoints: False for none.
    """
    required: list[Callback] = [kind() for kind in (RolloutMetrics, SignalWatch) if not _any(given, kind)]
    if run_dir is not None and checkpoints is not False and not _any(given, IterationCheckpoint):
        required.append(IterationCheckpoint(run_dir))
    return [*given, *required]


def _any(callbacks: Sequence[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)
