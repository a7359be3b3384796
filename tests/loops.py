"""A regression of three weights under the Trainer: what a run leaves behind, in a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from rlsd_pl.persistence.iterations import IterationCheckpoint
from rlsd_pl.persistence.metrics import MetricsLogger


class Regression(LightningModule):
    """Learns zero from seeded noise; logs ``rollout/reward``, ``train/loss`` and ``val/greedy_accuracy``.

    Attributes:
        rollouts: the iterations for which data was asked.
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        fail_in: int | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)
        self.optimizer = optimizer or (lambda parameters: torch.optim.AdamW(parameters, lr=0.1))
        self.scheduler, self.fail_in = scheduler, fail_in
        self.rollouts: list[int] = []
        self.rates: list[float] = []

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return optimizer if self.scheduler is None else [[optimizer], [self.scheduler(optimizer)]]

    def train_dataloader(self) -> DataLoader:
        iteration = self.trainer.current_epoch
        self.rollouts.append(iteration + 1)
        noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(iteration))
        return DataLoader(list(noise), batch_size=2)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        return DataLoader(list(torch.zeros(2, 3)))  # type: ignore[arg-type]

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.current_epoch + 1 == self.fail_in:
            raise RuntimeError("the power went out")
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss = self.layer(batch).pow(2).mean()
        self.log_dict(
            {"train/loss": loss, "rollout/reward": 0.5, "step": float(self.current_epoch + 1)},
            on_step=False,
            on_epoch=True,
        )
        return loss

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log_dict({"val/greedy_accuracy": 0.25, "step": float(self.current_epoch + 1)})


def fit(
    folder: Path,
    iterations: int,
    resume: Path | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: IterationCheckpoint | None = None,
    **module: Any,
) -> Regression:
    """Train for so many iterations, from a checkpoint if there is one."""
    model = Regression(**module)
    trainer = Trainer(
        max_epochs=iterations,
        default_root_dir=folder,
        logger=MetricsLogger(folder, name="csv"),
        callbacks=[*callbacks, checkpoint or IterationCheckpoint(folder)],
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, ckpt_path=resume, weights_only=True)
    return model
