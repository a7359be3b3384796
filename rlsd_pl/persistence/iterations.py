"""One iteration is one commit: its metrics are on the disk first, then its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.fit_loop import _FitLoop

from rlsd_pl.persistence.checkpoint_io import DurableCheckpointIO
from rlsd_pl.persistence.checkpoints import checkpoint_path, prune
from rlsd_pl.persistence.storage import check_space, explained, sync_all

KEPT = 2
"""Checkpoints that stay: the newest, and the one to fall back on."""


class IterationLoop(_FitLoop):
    """Lightning's loop with two changes at its ends.

    An iteration is committed when Lightning has logged its metrics, for which it has no hook: it saves earlier, and a
    kill in between would lose the metrics. A run with nothing left to train makes up what follows training (export,
    pictures), without a rollout that nobody would learn from.
    """

    @classmethod
    def install(cls, trainer: Trainer) -> None:
        """Put this loop in the place of a Trainer's own."""
        loop = cls(trainer)
        vars(loop).update(vars(trainer.fit_loop))
        trainer.fit_loop = loop

    def run(self) -> None:
        if self.is_resuming and self.done:
            self.on_run_end()
            return
        super().run()

    def on_advance_end(self) -> None:
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        commits = [callback for callback in callbacks if isinstance(callback, IterationCheckpoint)]
        with ExitStack() as stack:
            for callback in commits:
                stack.enter_context(explained(callback.folder, others_pass=True))
            super().on_advance_end()
            for callback in commits:
                callback.commit(self.trainer)


class IterationCheckpoint(Checkpoint):
    """Saves every iteration under ``checkpoints/`` in the run folder, and keeps the last two.

    Args:
        folder: of the run.
        undisturbed: context in which a commit runs, for example one that makes stop signals wait.
        before: called before each commit; raises if the folder is no longer the run's.
        after_first: called once, on the first process, when the first iteration of this process is saved: what
            replaces files of the run that it goes on with.
    """

    def __init__(
        self,
        folder: Path,
        undisturbed: Callable[[], AbstractContextManager[Any]] = nullcontext,
        before: Callable[[], object] = lambda: None,
        after_first: Iterable[Callable[[], object]] = (),
    ) -> None:
        self.folder, self.undisturbed, self.before = folder, undisturbed, before
        self._after_first = list(after_first)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Bring the loop that commits, and the way of writing that survives a kill."""
        if not isinstance(trainer.fit_loop, IterationLoop):
            IterationLoop.install(trainer)
        trainer.strategy.checkpoint_io = DurableCheckpointIO()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a disk that cannot hold the checkpoints, before anything is sampled."""
        if trainer.is_global_zero:
            one = expected_size(pl_module)
            present = sum(path.stat().st_size for path in self.checkpoints.rglob("*") if path.is_file())
            kept = f"{KEPT} checkpoints and one that is being written"
            check_space(self.folder, (KEPT + 1) * one - present, kept)

    def commit(self, trainer: Trainer) -> None:
        """Save the iteration that has just ended. On all processes."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        with self.undisturbed():
            self.before()
            if trainer.is_global_zero:
                sync_all([self.folder / "rollouts.jsonl", self.folder / "csv"])
            trainer.save_checkpoint(checkpoint_path(self.checkpoints, trainer.current_epoch))
            if trainer.is_global_zero:
                while self._after_first:
                    self._after_first.pop(0)()
                prune(self.checkpoints, KEPT)


def expected_size(module: LightningModule) -> int:
    """Bytes of a checkpoint: the weights that the module saves, and two tensors of the optimizer, as Adam has, for each
    that is trained."""
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    state = {name: value for name, value in checkpoint["state_dict"].items() if isinstance(value, torch.Tensor)}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # Sharded tensors count whole: numel() is global.
    weights = sum(value.numel() * value.element_size() for value in state.values())
    return weights + 2 * sum(parameter.numel() * parameter.element_size() for parameter in trained)
