"""Sample completions where a run is watched: Weights & Biases, MLflow, TensorBoard."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from rlsd_pl.callbacks.rollout_log import records
from rlsd_pl.ranges import check_count

COLUMNS = ("iteration", "problem", "prompt", "completion", "status", "reward", "advantage", "credit")

STRONGEST = 5
"""Tokens whose credit a row names."""


class SampleTable(Callback):
    """Logs a table of sample completions every few iterations, to each logger that can show one.

    A W&B table and an MLflow table ``samples``, in TensorBoard a text ``samples``. The column *credit* names the tokens
    whose advantage departs most from the completion's own.

    Args:
        every: iterations between tables.
        completions: rows of one table, from the first groups of the rollout whose rewards differ, then from others.
    """

    def __init__(self, every: int = 10, completions: int = 8) -> None:
        check_count("SampleTable.every", every)
        check_count("SampleTable.completions", completions)
        self.every, self.completions = every, completions

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log this iteration's table."""
        rollouts = trainer.datamodule.latest  # type: ignore[attr-defined]
        if not trainer.is_global_zero or rollouts is None or trainer.current_epoch % self.every:
            return
        shown = [logger for logger in trainer.loggers if isinstance(logger, tuple(WRITERS))]
        if not shown:
            return
        step, size = trainer.current_epoch + 1, len(rollouts.groups[0])
        written = records(rollouts, -(-self.completions // size), pl_module.tokenizer)[: self.completions]
        rows = [row(step, record) for record in written]
        for logger in shown:
            next(write for kind, write in WRITERS.items() if isinstance(logger, kind))(logger, rows, step)


def row(iteration: int, record: dict[str, Any]) -> list[Any]:
    """A record of ``rollouts.jsonl`` as one row of the table."""
    named = {**record, "iteration": iteration, "credit": strongest(record)}
    return [named[column] for column in COLUMNS]


def strongest(record: dict[str, Any]) -> str:
    """The tokens whose advantage departs most from the completion's, with their advantages."""
    advantages = record.get("token_advantages") or []
    departing = [t for t, x in enumerate(advantages) if abs(x - record["advantage"]) > 1e-3]
    departing.sort(key=lambda t: -abs(advantages[t] - record["advantage"]))
    return ", ".join(f"{record['tokens'][t]!r} {advantages[t]:+.2f}" for t in departing[:STRONGEST])


def _to_wandb(logger: Any, rows: list[list[Any]], step: int) -> None:
    logger.log_table("samples", list(COLUMNS), rows, step=step)


def _to_mlflow(logger: Any, rows: list[list[Any]], step: int) -> None:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
    logger.experiment.log_table(logger.run_id, columns, "samples.json")  # further rows are appended


def _to_tensorboard(logger: Any, rows: list[list[Any]], step: int) -> None:
    logger.experiment.add_text("samples", markdown(rows), step)


def markdown(rows: list[list[Any]]) -> str:
    """A table whose cells hold any text."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("\n", "<br>")):
        text = text.replace(character, written)
    return text


WRITERS: dict[type[Logger], Any] = {
    WandbLogger: _to_wandb,
    MLFlowLogger: _to_mlflow,
    TensorBoardLogger: _to_tensorboard,
}
