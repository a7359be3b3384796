"""The worker's side of :class:`rlsd_pl.verifiers.reasoning_gym.ReasoningGymVerifier`."""

from __future__ import annotations

import json
import os
import sys
from functools import lru_cache
from importlib import import_module
from typing import Any

from rlsd_pl.verifiers.sandbox import Level, interpreter
from rlsd_pl.verifiers.sandbox.inside import landlock, seccomp, wire


def confine() -> tuple[Level, str]:
    """Give up files but for the Python installation, the network and new processes; the level reached, and why not."""
    installed = [sys.prefix, sys.base_prefix, *(path for path in sys.path if path), *interpreter.find().libraries]
    try:
        landlock.restrict(dict.fromkeys(map(os.path.realpath, installed)))
        seccomp.load()
    except (OSError, KeyError) as error:
        return Level.L1, f"the kernel refuses Landlock or seccomp: {error}"
    return Level.L2, ""


reasoning_gym: Any = import_module("reasoning_gym")  # before the walls: it reads its own files
LEVEL, REASON = confine()


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """``{"task", "answer", "minimum_level"}`` to ``{"score", "level"}``, or ``{"refused"}`` below that level."""
    if request["minimum_level"] > LEVEL:
        return {"refused": f"{REASON}; set minimum_level=L1 to evaluate answers without walls"}
    task = wire.loads(request["task"].encode())
    if task["dataset"] is None or task["entry"] is None:
        raise ValueError("the problem is not of reasoning-gym: set metadata['dataset'] and metadata['entry']")
    items = _items(task["dataset"], json.dumps(task["config"] or {}))
    return {"score": float(items.score_answer(request["answer"], task["entry"])), "level": int(LEVEL)}


@lru_cache(maxsize=32)
def _items(dataset: str, config: str) -> Any:
    return reasoning_gym.create_dataset(dataset, **json.loads(config))
