"""The credit of each token of a run's last recorded rollouts, as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.commands.credit_map import plot_credit_map


class CreditMap(Callback):
    """Draws ``credit_map.png`` in the run folder when training ends, from ``rollouts.jsonl``.

    Args:
        iteration: the recorded iteration to draw; ``None`` for the first one, where schedules are at their strongest.
        completions: how many.
    """

    def __init__(self, iteration: int | None = None, completions: int = 8) -> None:
        self.iteration, self.completions = iteration, completions

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if not trainer.is_global_zero or not (folder / "rollouts.jsonl").exists():
            return
        records = []
        with (folder / "rollouts.jsonl").open() as file:
            for line in file:
                record = json.loads(line)
                wanted = self.iteration or (records[0]["iteration"] if records else record["iteration"])
                if record["iteration"] == wanted:
                    records.append(record)
        plot_credit_map(records[: self.completions], folder / "credit_map.png")
