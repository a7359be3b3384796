"""The credit of each token of a run's last recorded rollouts, as a picture."""

from __future__ import annotations

import itertools
import json
from operator import itemgetter
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.commands.credit_map import plot_credit_map


class CreditMap(Callback):
    """Draws ``credit_map.png`` in the run folder when training ends, from ``rollouts.jsonl``.

    Args:
        iteration: the recorded iteration to draw; ``None`` for the first one with credit.
        completions: how many.
    """

    def __init__(self, iteration: int | None = None, completions: int = 8) -> None:
        self.iteration, self.completions = iteration, completions

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero and (folder / "rollouts.jsonl").exists():
            plot_credit_map(self._records(folder / "rollouts.jsonl"), folder / "credit_map.png")

    def _records(self, path: Path) -> list[dict[str, Any]]:
        """The wanted iteration's records; without a wish, those of the first iteration with credit."""
        with path.open() as file:
            for iteration, lines in itertools.groupby(map(json.loads, file), key=itemgetter("iteration")):
                records = list(lines)
                credited = any(any(record.get("token_advantages", ())) for record in records)
                if iteration == self.iteration or (self.iteration is None and credited):
                    return records[: self.completions]
        return []
