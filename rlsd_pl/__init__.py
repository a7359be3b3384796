"""rlsd_pl: self-distilled RLVR (RLSD) and its relatives on PyTorch Lightning.

The names of a quick start are here, each imported when it is first used: ``import rlsd_pl`` loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlsd_pl.contexts import AnswerContext as AnswerContext
    from rlsd_pl.contexts import SolutionContext as SolutionContext
    from rlsd_pl.contexts import SuccessfulSibling as SuccessfulSibling
    from rlsd_pl.datamodule import RolloutDataModule as RolloutDataModule
    from rlsd_pl.engines import GroupedEngine as GroupedEngine
    from rlsd_pl.engines import TransformersEngine as TransformersEngine
    from rlsd_pl.lab import ChainTask as ChainTask
    from rlsd_pl.lab import LabVerifier as LabVerifier
    from rlsd_pl.module import PolicyModule as PolicyModule
    from rlsd_pl.objectives import OPSD as OPSD
    from rlsd_pl.objectives import RLSD as RLSD
    from rlsd_pl.objectives import RLVR as RLVR
    from rlsd_pl.objectives import GRPOWithOPSD as GRPOWithOPSD
    from rlsd_pl.policy import LoRA as LoRA
    from rlsd_pl.tasks import TableTask as TableTask
    from rlsd_pl.teachers import LiveTeacher as LiveTeacher
    from rlsd_pl.teachers import PeriodicTeacher as PeriodicTeacher
    from rlsd_pl.trainer import rollout_trainer as rollout_trainer
    from rlsd_pl.verifiers import MathVerifier as MathVerifier

__version__ = "0.1.0"

_HOMES = {
    "contexts": ("AnswerContext", "SolutionContext", "SuccessfulSibling"),
    "datamodule": ("RolloutDataModule",),
    "engines": ("GroupedEngine", "TransformersEngine"),
    "lab": ("ChainTask", "LabVerifier"),
    "module": ("PolicyModule",),
    "objectives": ("OPSD", "RLSD", "RLVR", "GRPOWithOPSD"),
    "policy": ("LoRA",),
    "tasks": ("TableTask",),
    "teachers": ("LiveTeacher", "PeriodicTeacher"),
    "trainer": ("rollout_trainer",),
    "verifiers": ("MathVerifier",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'rlsd_pl' has no attribute {name!r}")
    value = getattr(import_module(f"rlsd_pl.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
