"""Engines: how completions are sampled."""

from rlsd_pl.engines.base import Engine, OnFinished, ignore_finished
from rlsd_pl.engines.continuous import ContinuousEngine
from rlsd_pl.engines.grouped import GroupedEngine
from rlsd_pl.engines.hf import TransformersEngine
from rlsd_pl.engines.scripted import ScriptedEngine, demonstrate, demonstration
from rlsd_pl.engines.vllm import VLLMEngine
from rlsd_pl.engines.vllm_server import VLLMServerEngine

__all__ = [
    "ContinuousEngine",
    "Engine",
    "GroupedEngine",
    "OnFinished",
    "ScriptedEngine",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMServerEngine",
    "demonstrate",
    "demonstration",
    "ignore_finished",
]
