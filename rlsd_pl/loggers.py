"""What a run logs into: one choice per run, which knows the run's folder only when the run starts."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from rlsd_pl.errors import SetupError
from rlsd_pl.persistence.metrics import MetricsLogger
from rlsd_pl.persistence.storage import write_text

ID_FILE = "logger_id.txt"
"""In the run folder: the run's id at the service, by which a resumed run goes on there."""


class RunLogger(ABC):
    """Makes the loggers of a run."""

    @abstractmethod
    def make(self, folder: Path, done: int, settings: Mapping[str, Any]) -> list[Logger]:
        """The loggers.

        Args:
            folder: of the run.
            done: iterations that a resumed run has finished.
            settings: the resolved configuration, for services that show it.

        Raises:
            SetupError: if the service's package is not installed.
        """


class NoLogger(RunLogger):
    """None at all."""

    def make(self, folder: Path, done: int, settings: Mapping[str, Any]) -> list[Logger]:
        return []


class CSV(RunLogger):
    """``csv/`` alone."""

    def make(self, folder: Path, done: int, settings: Mapping[str, Any]) -> list[Logger]:
        return [MetricsLogger(folder, name="csv")]


class TensorBoard(RunLogger):
    """``csv/`` and ``tensorboard/``, where TensorBoard hides what was logged after the last finished iteration."""

    def make(self, folder: Path, done: int, settings: Mapping[str, Any]) -> list[Logger]:
        board = TensorBoardLogger(folder, name="tensorboard", version=0, purge_step=done + 1 if done else None)
        return [MetricsLogger(folder, name="csv"), board]


class WandB(RunLogger):
    """``csv/`` and Weights & Biases.

    Args:
        project, entity, group: where the run stands there.
        name: of the run; ``null`` for the name of its folder.
        offline: write ``wandb/`` in the run folder only; ``wandb sync`` uploads it later.
    """

    def __init__(
        self,
        project: str = "rlsd_pl",
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        offline: bool = False,
    ) -> None:
        self.project, self.name, self.entity, self.group, self.offline = project, name, entity, group, offline

    def make(self, folder: Path, done: int, settings: Mapping[str, Any]) -> list[Logger]:
        _require("wandb")
        path = folder / ID_FILE
        known = path.read_text().strip() if done and path.exists() else None
        run_id = known or secrets.token_hex(4)
        if rank_zero_only.rank == 0:
            write_text(path, f"{run_id}\n")
        service = WandbLogger(
            name=self.name or folder.name,
            save_dir=folder,
            id=run_id,
            resume="allow",
            project=self.project,
            entity=self.entity,
            group=self.group,
            offline=self.offline,
            config=dict(settings),
        )
        return [MetricsLogger(folder, name="csv"), service]


class MLflow(RunLogger):
    """``csv/`` and MLflow.

    Args:
        experiment: where the run stands there.
        name: of the run; ``null`` for the name of its folder.
        tracking_uri: of the server or store; ``null`` for what MLFLOW_TRACKING_URI says, else files in ``mlruns/`` of
            the run folder, which recent versions of MLflow write only with MLFLOW_ALLOW_FILE_STORE: it is set then.
    """

    def __init__(self, experiment: str = "rlsd_pl", name: str | None = None, tracking_uri: str | None = None) -> None:
        self.experiment, self.name, self.tracking_uri = experiment, name, tracking_uri

    def make(self, folder: Path, done: int, settings: Mapping[str, Any]) -> list[Logger]:
        _require("mlflow")
        path = folder / ID_FILE
        known = path.read_text().strip() if done and path.exists() else None
        service = MLFlowLogger(
            experiment_name=self.experiment,
            run_name=self.name or folder.name,
            tracking_uri=self._uri(folder),
            run_id=known,
        )
        if known is None and rank_zero_only.rank == 0:
            service.log_hyperparams(dict(settings))  # what is logged once cannot be changed there
            write_text(path, f"{service.run_id}\n")
        return [MetricsLogger(folder, name="csv"), service]

    def _uri(self, folder: Path) -> str:
        if uri := self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"):
            return uri
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        return (folder / "mlruns").resolve().as_uri()


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise SetupError(
            f"--logger {package} needs the package {package}: pip install 'rlsd_pl[{package}]'. Or set --logger to "
            "tensorboard, csv or none."
        )
