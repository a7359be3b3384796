"""Engines: how completions are sampled."""

from rlsd_pl.engines.base import Engine, OnProgress, ignore_progress
from rlsd_pl.engines.hf import TransformersEngine
from rlsd_pl.engines.scripted import ScriptedEngine, demonstrate, demonstration

__all__ = [
    "Engine",
    "OnProgress",
    "ScriptedEngine",
    "TransformersEngine",
    "demonstrate",
    "demonstration",
    "ignore_progress",
]
