"""The credit of each token of some of a run's recorded rollouts, as a picture and as a page."""

from __future__ import annotations

import itertools
import json
from operator import itemgetter
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.commands.credit_map import plot_credit_map, write_credit_page


class CreditMap(Callback):
    """Draws ``credit_map.png`` in the run folder when training ends, from ``rollouts.jsonl``, and writes
    ``credit_map.html``, where each token also has what its credit was made of. Of other rollouts:
    ``rlsd-pl rollouts RUN --html FILE``.

    Args:
        iteration: the recorded iteration to draw; ``None`` for the first one with credit.
        completions: how many.
    """

    def __init__(self, iteration: int | None = None, completions: int = 8) -> None:
        self.iteration, self.completions = iteration, completions

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero and (folder / "rollouts.jsonl").exists():
            shown = self._records(folder / "rollouts.jsonl")
            if plot_credit_map(shown, folder / "credit_map.png") is not None:
                write_credit_page(shown, folder / "credit_map.html", folder.name)

    def _records(self, path: Path) -> list[dict[str, Any]]:
        """The wanted iteration's records; without a wish, those of the first iteration with credit."""
        with path.open() as file:
            for iteration, lines in itertools.groupby(map(json.loads, file), key=itemgetter("iteration")):
                records = list(lines)
                credited = any(any(record.get("token_advantages", ())) for record in records)
                if iteration == self.iteration or (self.iteration is None and credited):
                    return records[: self.completions]
        return []
