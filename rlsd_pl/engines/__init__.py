"""Engines: how completions are sampled."""

from rlsd_pl.engines.base import Engine, OnFinished, ignore_finished
from rlsd_pl.engines.grouped import GroupedEngine
from rlsd_pl.engines.hf import TransformersEngine
from rlsd_pl.engines.scripted import ScriptedEngine, demonstrate, demonstration

__all__ = [
    "Engine",
    "GroupedEngine",
    "OnFinished",
    "ScriptedEngine",
    "TransformersEngine",
    "demonstrate",
    "demonstration",
    "ignore_finished",
]
