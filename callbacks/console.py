"""What a run shows: progress of rollouts and updates, a line per iteration, a table at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from rlsd_pl.commands.runs import read_history
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.rollout.sampler import Progress as Completed

COLUMNS = {
    "iter": ("iteration", "{:.0f}"),
    "reward": ("rollout/reward", "{:.3f}"),
    "greedy": ("val/greedy_accuracy", "{:.3f}"),
    "sampled": ("val/sampled_accuracy", "{:.3f}"),
    "length": ("rollout/length", "{:.1f}"),
    "hollow": ("rollout/hollow", "{:.3f}"),
    "strength": ("credit/strength", "{:.2f}"),
    "clip": ("credit/clip_fraction", "{:.3f}"),
    "entropy": ("train/entropy", "{:.3f}"),
    "tokens/s": ("perf/generated_tokens_per_second", "{:.0f}"),
}
"""Column heads of the iteration line: metric key and format. A column whose key never comes stays blank."""

SUMMARY = (
    *("val/greedy_accuracy", "val/sampled_accuracy", "val/strict_accuracy", "val/pass_at_"),
    *("val/length", "val/hollow", "val/truncated"),
)
"""Keys, or beginnings of keys, of the table at the end."""

HEADER_EVERY = 20


class ConsoleReport(ProgressBar):
    """Rich progress bars for rollouts, evaluation and updates; one line of metrics per iteration; before and after."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self.console = Console(highlight=False, soft_wrap=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self.bars: dict[str, TaskID] = {}
        self.lines = 0
        self.before: dict[str, float] = {}
        self.started = time.perf_counter()

    def disable(self) -> None:
        """Called by Lightning on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    # --- bars --------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Show what the data module samples."""
        super().setup(trainer, pl_module, stage)
        data = getattr(trainer, "datamodule", None)
        if self._enabled and trainer.is_global_zero and isinstance(data, RolloutDataModule):
            data.on_progress = self._completed
            self.started = time.perf_counter()
            self.progress.start()

    def _completed(self, progress: Completed) -> None:
        bar = self.bars.get(progress.phase)
        if bar is None or self.progress.tasks[self.progress.task_ids.index(bar)].finished:
            bar = self._bar(progress.phase, progress.total)
        done = progress.finished == progress.total
        self.progress.update(bar, completed=progress.finished, total=progress.total, visible=not done)

    def _bar(self, what: str, total: int) -> TaskID:
        iteration = self.trainer.current_epoch + 1
        description = f"iteration {iteration}/{self.trainer.max_epochs} {what}"
        if what not in self.bars:
            self.bars[what] = self.progress.add_task(description, total=total)
        self.progress.reset(self.bars[what], total=total, description=description, visible=True)
        return self.bars[what]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the updates of this iteration."""
        if self._shown(trainer):
            self._bar("updates", int(trainer.num_training_batches))

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Advance the updates."""
        if self._shown(trainer):
            self.progress.advance(self.bars["updates"])

    # --- text --------------------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the run writes and what was left out."""
        if self._shown(trainer):
            parameters = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
            objective = type(pl_module.objective).__name__
            evaluated = read_history(Path(trainer.default_root_dir))
            self.before = {key: series[0] for key, series in evaluated.items() if 0 in series}
            task = type(self._data(trainer).task).__name__
            machine = f"{trainer.world_size} x {trainer.strategy.root_device.type}"
            self.console.print(
                f"[bold]{objective}[/] on {task}, {parameters:,} trainable parameters, {machine}; "
                f"run folder {trainer.default_root_dir}"
            )

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and show the evaluation before training."""
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("val/", "leakage/"))}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=0)
        if self._shown(trainer):
            self.before = metrics
            self._line({**metrics, "iteration": 0.0})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A line for the iteration."""
        if not self._shown(trainer):
            return
        self.progress.update(self.bars["updates"], visible=False)
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("val/")}
        evaluated = trainer.current_epoch + 1 if trainer.fit_loop.epoch_loop._should_check_val_epoch() else 0
        if evaluated:
            metrics |= {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        self._line({**metrics, **self._data(trainer).latest_metrics, "iteration": float(trainer.current_epoch + 1)})

    def _line(self, metrics: dict[str, float]) -> None:
        if self.lines % HEADER_EVERY == 0:
            self.console.print("[bold]" + "".join(f"{head:>9}" for head in COLUMNS) + "[/]")
        self.lines += 1
        cells = [
            form.format(metrics[key]) if key in metrics else ("-" if head == "iter" else "")
            for head, (key, form) in COLUMNS.items()
        ]
        self.console.print("".join(f"{cell:>9}" for cell in cells))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The table before and after."""
        if not self._shown(trainer):
            return
        self.progress.stop()
        logged = read_history(Path(trainer.default_root_dir))  # for a run that only made up its export
        after = {
            key: series[trainer.current_epoch] for key, series in logged.items() if trainer.current_epoch in series
        }
        after |= {k: float(v) for k, v in trainer.callback_metrics.items()}
        table = Table("held-out", "before", "after", box=None, title_justify="left")
        for key in sorted({*self.before, *after}, key=_rank):
            if key.startswith(SUMMARY):
                table.add_row(key.removeprefix("val/"), _number(self.before.get(key)), _number(after.get(key)))
        self.console.print("", table)
        seconds = time.perf_counter() - self.started
        self.console.print(
            f"{trainer.current_epoch} iterations in {seconds:.0f} s; everything is in {trainer.default_root_dir}"
        )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the bars."""
        if self._shown(trainer):
            self.progress.stop()

    def _shown(self, trainer: Trainer) -> bool:
        return self._enabled and trainer.is_global_zero

    @staticmethod
    def _data(trainer: Trainer) -> RolloutDataModule:
        return cast(RolloutDataModule, trainer.datamodule)  # type: ignore[attr-defined]


def _rank(key: str) -> int:
    return next((i for i, prefix in enumerate(SUMMARY) if key.startswith(prefix)), len(SUMMARY))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
