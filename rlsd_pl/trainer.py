"""A Lightning Trainer for rollouts: the same from Python and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from rlsd_pl import callbacks

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

SHOWN = ("ConsoleReport", "LeakageDetection")
"""Callbacks of every run."""

WRITTEN = ("RolloutLog", "LearningCurve", "HuggingFaceExport")
"""Callbacks that write into the run's folder."""


def rollout_trainer(run_dir: str | Path | None = None, max_iterations: int = 200, **settings: Any) -> Trainer:
    """A Trainer for a ``PolicyModule`` and a ``RolloutDataModule``; whatever ``settings`` say wins.

    Args:
        run_dir: where logs, checkpoints, sample rollouts, the learning curve and the exported model go; without one
            nothing is written.
        max_iterations: rollouts, each with its updates.
        settings: of :class:`lightning.pytorch.Trainer`. ``callbacks`` replaces the default ones (but for the checkpoint
            after each iteration), ``logger`` the CSV and TensorBoard ones.
    """
    given = {**LOOP, "max_epochs": max_iterations, **settings}
    if given.get("callbacks") is None:
        given["callbacks"] = default_callbacks(writing=run_dir is not None)
    elif isinstance(given["callbacks"], Callback):
        given["callbacks"] = [given["callbacks"]]
    if run_dir is None:
        return Trainer(**{"logger": False, "enable_checkpointing": False, **given})
    given["callbacks"] = with_checkpoint(given["callbacks"], Path(run_dir), given.get("enable_checkpointing"))
    return Trainer(**{"default_root_dir": run_dir, "logger": run_loggers(Path(run_dir)), **given})


def default_callbacks(writing: bool = True) -> list[Callback]:
    """New instances of the callbacks of a run."""
    return [getattr(callbacks, name)() for name in (*SHOWN, *(WRITTEN if writing else ()))]


def run_loggers(run_dir: Path) -> list[Logger]:
    """``csv/`` and ``tensorboard/``."""
    return [CSVLogger(run_dir, name="csv"), TensorBoardLogger(run_dir, name="tensorboard")]


def with_checkpoint(given: list[Callback], run_dir: Path, enabled: bool | None = True) -> list[Callback]:
    """The callbacks and one that saves the newest iteration, unless there is one or checkpoints are off."""
    if enabled is False or any(isinstance(callback, Checkpoint) for callback in given):
        return given
    return [*given, run_checkpoint(run_dir)]


def run_checkpoint(run_dir: Path) -> ModelCheckpoint:
    """``checkpoints/iteration-N.ckpt`` of the newest finished iteration."""
    return ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="iteration-{step:06d}",
        auto_insert_metric_name=False,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
