"""The numbers of each rollout, logged beside those of its updates."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RolloutMetrics(Callback):
    """Logs what the data module measured (``rollout/``, ``credit/``, ``perf/``) when the iteration's updates are done.

    Works with any data module that keeps ``latest_metrics``.
    """

    def __init__(self) -> None:
        self.updates_started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.updates_started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        seconds = time.perf_counter() - self.updates_started
        # A metric named "step" is what Lightning puts on the loggers' x-axis: iterations, not micro-batches.
        step = float(trainer.current_epoch + 1)
        pl_module.log_dict({**data.latest_metrics, "perf/update_seconds": seconds, "step": step})
