"""The problems of a task, each with the row that privileged text is added to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.tasks.table import TableTask
from rlsd_pl.types import Problem

GIVE_UP = 10_000
"""Repeated questions in a row after which an endless task counts as told."""

SPLITS: tuple[Split, ...] = ("train", "val")


def columns(task: Task) -> set[str]:
    """Names that a row has already."""
    if isinstance(task, TableTask):
        return {name for split in SPLITS for name in task.rows[split].column_names}
    return {"question", "answer"}


def numbered_rows(task: Task) -> Iterator[tuple[Problem, dict[str, Any]]]:
    """All rows of a table; of another task its training problems as ``question`` and ``answer``, each question once.

    Held-out problems of such a task stay out: the table made from it holds out a share of its own. Endless where the
    task is.
    """
    if isinstance(task, TableTask):
        for split in SPLITS:
            for index in range(task.size(split)):
                yield task.problem(split, index), task.row(split, index)
        return
    size = task.size("train")
    seen: set[str] = set()
    repeated = 0
    for index in count() if size is None else range(size):
        problem = task.problem("train", index)
        if problem.prompt in seen:
            repeated += 1
            if repeated == GIVE_UP:
                return
            continue
        repeated = 0
        seen.add(problem.prompt)
        yield problem, {"question": problem.prompt, "answer": problem.answer}
