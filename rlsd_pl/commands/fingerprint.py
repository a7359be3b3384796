"""What the data of a run looked like, so that it goes on with the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

from rlsd_pl.persistence.storage import write_text
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import Problem

FILE = "data.json"
"""In the run folder: the fingerprint of each split."""

PROBE = 64
"""Problems of an endless split that stand for it."""

Fingerprint = dict[str, dict[str, Any]]
"""By split: ``problems``, their number (``None`` for an endless split), and ``blake2b`` of what they hold, in order."""


def fingerprint(task: Task) -> Fingerprint:
    """Hash ids, messages, answers, privileged texts and metadata of all problems, in their order."""
    return {split: _of_split(task, split) for split in get_args(Split)}


def _of_split(task: Task, split: Split) -> dict[str, Any]:
    size = task.size(split)
    digest = hashlib.blake2b(digest_size=16)
    for index in range(PROBE if size is None else size):
        digest.update(described(task.problem(split, index)).encode())
    return {"problems": size, "blake2b": digest.hexdigest()}


def described(problem: Problem) -> str:
    """All that a problem holds, as JSON."""
    messages = [dict(message) for message in problem.messages]
    held = [problem.id, messages, problem.answer, dict(problem.privileged), dict(problem.metadata)]
    # The name of an unknown type alone: its repr may hold an address, or a set's order.
    return json.dumps(held, sort_keys=True, default=lambda value: type(value).__name__)


def record(folder: Path, found: Fingerprint) -> None:
    """Write it into the run folder."""
    write_text(folder / FILE, json.dumps(found, indent=2) + "\n")


def differences(folder: Path, found: Fingerprint) -> list[str]:
    """What is not as it was when the run began, in words. A run of an earlier version has recorded nothing."""
    path = folder / FILE
    if not path.exists():
        return []
    recorded: Fingerprint = json.loads(path.read_text())
    texts: list[str] = []
    for split, now in found.items():
        before = recorded.get(split, {})
        if before.get("problems") != now["problems"]:
            texts.append(f"the {split} split had {before.get('problems')} problems and has {now['problems']}")
        elif before != now:
            texts.append(f"the {split} split holds other problems, or the same in another order")
    return texts
