"""The numbers of each rollout, logged beside those of its updates."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.rollout.flops import peak_flops


class RolloutMetrics(Callback):
    """Logs what the data module measured (``rollout/``, ``credit/``, ``perf/``) when the iteration's updates are done.

    Works with any data module that keeps ``latest_metrics``. The seconds of rollout, updates, evaluation and all else
    (checkpoints, logs) add up to those of an iteration. On a GPU whose peak is known, ``perf/mfu`` is the share of it
    that model FLOPs took over rollout and updates.
    """

    def __init__(self) -> None:
        self.updates_started = self.evaluation_started = self.evaluation_seconds = 0.0
        self.iteration_ended: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.updates_started, self.evaluation_seconds = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evaluation_seconds = time.perf_counter() - self.evaluation_started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        now = time.perf_counter()
        measured = {
            "perf/update_seconds": now - self.updates_started - self.evaluation_seconds,
            "perf/peak_memory_bytes": float(peak_memory(pl_module.device)),
        }
        if (peak := peak_flops(device_name(pl_module.device))) and "perf/model_flops" in data.latest_metrics:
            iteration = data.latest_metrics["perf/rollout_seconds"] + measured["perf/update_seconds"]
            measured["perf/mfu"] = data.latest_metrics["perf/model_flops"] / (iteration * peak)
        if self.evaluation_seconds:
            measured["perf/evaluation_seconds"] = self.evaluation_seconds
        if self.iteration_ended is not None:
            known = data.latest_metrics["perf/rollout_seconds"] + now - self.updates_started
            measured["perf/other_seconds"] = now - self.iteration_ended - known
        self.iteration_ended = now
        # A metric named "step" is what Lightning puts on the loggers' x-axis: iterations, not micro-batches.
        step = float(trainer.current_epoch + 1)
        pl_module.log_dict({**data.latest_metrics, **measured, "step": step})


def device_name(device: torch.device) -> str:
    """As CUDA gives it; elsewhere the device's type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that tensors have taken on a CUDA device so far; elsewhere the most of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
