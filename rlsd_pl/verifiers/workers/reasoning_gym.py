"""The worker's side of :class:`rlsd_pl.verifiers.reasoning_gym.ReasoningGymVerifier`."""

from __future__ import annotations

import json
import math
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
    """``{"task", "answer", "minimum_level"}`` to ``{"score", "level"}``.

    ``{"refused"}`` below that level, ``{"raised"}`` where the data set's judgement fails on the answer: it has judged
    its own answer at load, so the answer is to blame.
    """
    if request["minimum_level"] > LEVEL:
        return {"refused": f"{REASON}; set minimum_level=L1 to evaluate answers without walls"}
    task = wire.loads(request["task"].encode())
    if task["dataset"] is None or task["entry"] is None:
        raise ValueError("the problem is not of reasoning-gym: set metadata['dataset'] and metadata['entry']")
    items = _items(task["dataset"], json.dumps(task["config"] or {}))
    try:
        score = float(items.score_answer(request["answer"], task["entry"]))
    except MemoryError:
        raise
    except BaseException as error:  # an answer that is evaluated may raise whatever it likes
        return {"raised": type(error).__name__, "level": int(LEVEL)}
    return {"score": score if math.isfinite(score) else 0.0, "level": int(LEVEL)}


@lru_cache(maxsize=32)
def _items(dataset: str, config: str) -> Any:
    return reasoning_gym.create_dataset(dataset, **json.loads(config))
