"""The learning curve of a run, and what leakage detection measured, as pictures."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.commands.plots import plot_leakage, plot_run
from rlsd_pl.persistence.metrics import MetricsLogger


class LearningCurve(Callback):
    """Draws ``learning_curve.png`` and ``leakage.png`` in the run folder when training ends, in whatever way."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            if any(isinstance(logger, MetricsLogger) for logger in trainer.loggers):
                plot_run(Path(trainer.default_root_dir))
                plot_leakage(Path(trainer.default_root_dir))
