"""What is done about leakage, once a rule has held for its number of checks."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from rlsd_pl.errors import SetupError
from rlsd_pl.ranges import check_share
from rlsd_pl.types import Signal

log = logging.getLogger("rlsd_pl.leakage")


class Response(ABC):
    """Follows each alarm; the warning has been given by then."""

    def prepare(self, pl_module: LightningModule) -> None:  # noqa: B027
        """Called before training.

        Raises:
            SetupError: where nothing could be done.
        """

    @abstractmethod
    def act(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do it. Called again when the rule has held for as many checks again."""

    def metrics(self) -> dict[str, float]:
        """What to log in every iteration, without ``leakage/``."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on after a resume."""


class Warn(Response):
    """Nothing beside the warning."""

    def act(self, trainer: Trainer, pl_module: LightningModule) -> None:
        return


class Stop(Response):
    """The run ends after this iteration, which is saved; its status is 0, but it does not count as finished."""

    def act(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            trainer.should_stop = True
            log.warning("Training stops after this iteration: LeakageDetection was told to (on_leak).")


class Scale(Response):
    """The weight of all that the teacher says is multiplied by ``factor`` from the next rollout on.

    That is ``objective.distillation_scale``, or an attribute ``distillation_scale`` of a module without an objective,
    which has to multiply by it. It does little where distillation is the whole loss (OPSD, SDPO, OPD), since Adam
    divides by the size of the gradient: there, take :class:`Stop`.

    Args:
        factor: in [0, 1].
        least: the weight goes no lower, in [0, 1].
    """

    def __init__(self, factor: float = 0.5, least: float = 0.0) -> None:
        check_share("leakage.on_leak.factor", factor)
        check_share("leakage.on_leak.least", least)
        self.factor, self.least, self.scale = factor, least, 1.0
        self._holder: Any = None

    def prepare(self, pl_module: LightningModule) -> None:
        holder: Any = getattr(pl_module, "objective", pl_module)
        needs = getattr(holder, "needs", None)
        deaf = needs is not None and not needs.signals & (Signal.TEACHER | Signal.DISTRIBUTION)
        if deaf or not hasattr(holder, "distillation_scale"):
            raise SetupError(
                f"Got leakage.on_leak=Scale for {type(holder).__name__}, which "
                f"{'asks no teacher' if deaf else 'has no attribute distillation_scale'}; expected an objective with a "
                "distillation weight. Set --leakage.on_leak to Warn or Stop."
            )
        self._holder = holder
        self._set(self.scale)

    def act(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._set(max(self.least, self.scale * self.factor))
        log.warning("The weight of distillation is scaled by %.3g from the next rollout on.", self.scale)

    def metrics(self) -> dict[str, float]:
        return {"scale": self.scale}

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Lightning restores this before :meth:`prepare`, and after it where weights are sharded."""
        self._set(state.get("scale", 1.0))

    def _set(self, scale: float) -> None:
        self.scale = scale
        if self._holder is not None:
            self._holder.distillation_scale = scale
