"""Signals that end a run: the iteration at hand is dropped, the last finished one is on the disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C; a scheduler's or a person's request to end; a closed terminal; a scheduler's warning of a time limit."""


class Stopped(BaseException):
    """A signal ended the run.

    Attributes:
        number: of the signal; :attr:`status` is what a shell reports for it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        return 128 + self.number


class StopOnSignal(Callback):
    """Raises :class:`Stopped` in the main thread when one of ``SIGNALS`` arrives; a context manager around a run.

    Lightning's own handlers are put aside: on SIGTERM they leave with status 0 and wait for other processes inside of
    the handler, on SLURM's USR1 they save the middle of an iteration. A signal that was ignored when the run began, as
    ``nohup`` does with SIGHUP, stays ignored.

    An exception can be lost in what it interrupts, a destructor for example. Hooks between two batches raise it again.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.getsignal(s) for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN}
            self._install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is None:  # a second one changes nothing: the run is leaving
            self.received = number
            self.check()

    def check(self) -> None:
        """Raise if a signal has come, unless a commit is under way."""
        if self.received is not None and not self._deferred:
            raise Stopped(self.received)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block come to its end before a signal stops the run."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    # Lightning installs its handlers between on_fit_start and these two.

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._install()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._install()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.check()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.check()


def kill_launched(trainer: Trainer) -> None:
    """End the processes that this one has launched, which may be waiting for it in a collective."""
    launcher = trainer.strategy.launcher
    kill = getattr(launcher, "kill", None)
    if kill is not None:
        kill(signal.SIGKILL)
