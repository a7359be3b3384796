"""Engines: how completions are sampled."""

from rlsd_pl.engines.base import Engine, OnFinished, OnProgress, ignore_finished, ignore_progress
from rlsd_pl.engines.hf import TransformersEngine
from rlsd_pl.engines.scripted import ScriptedEngine, demonstrate, demonstration

__all__ = [
    "Engine",
    "OnFinished",
    "OnProgress",
    "ScriptedEngine",
    "TransformersEngine",
    "demonstrate",
    "demonstration",
    "ignore_finished",
    "ignore_progress",
]
