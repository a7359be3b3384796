"""Builds a table with a privileged column, row by row, so that it can be stopped and taken up again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlsd_pl.commands.privileged.report import Coverage, stands_in
from rlsd_pl.commands.privileged.rows import columns, numbered_rows
from rlsd_pl.commands.privileged.sources import Source
from rlsd_pl.errors import SetupError
from rlsd_pl.rollout.sampler import student_messages
from rlsd_pl.tasks.base import Task
from rlsd_pl.tasks.values import json_text
from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers.base import Verifier

RECORD = "privileged_record"
"""Column with what a resumed build and the report need to know of a row."""


@dataclass(frozen=True)
class Record:
    """How a row came by its text: the problem's id, verdicts of the proposals by status, whether the answer leaks."""

    id: str
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    answer_in_prompt: bool = False


class Builder:
    """Appends each row of a task, with one column more, to a JSONL file; rows that are there already are kept.

    A row for which nothing was found gets ``null``, so that the file serves as the table in every way and
    ``data.max_skipped_share`` decides what becomes of such rows.

    Args:
        task: a table, or any other task; see :func:`~rlsd_pl.commands.privileged.rows.numbered_rows`.
        output: the JSONL file.
        column: name of the new column.
    """

    def __init__(self, task: Task, output: Path, column: str) -> None:
        self.task, self.output, self.column = task, output, column
        if column in columns(task):
            raise SetupError(f"The table already has a column {column!r}; set --column to a new name.")

    def done(self) -> list[dict[str, Any]]:
        """The rows that are already there; a line that an interruption cut off is removed."""
        if not self.output.exists():
            return []
        content = self.output.read_text(encoding="utf-8")
        whole = content[: content.rfind("\n") + 1]
        if whole != content:
            self.output.write_text(whole, encoding="utf-8")
        rows = [json.loads(line) for line in whole.split("\n")[:-1]]
        if any(self.column not in row or RECORD not in row for row in rows):
            raise SetupError(f"{self.output} was not made with --column {self.column}; set --output to a new file.")
        return rows

    def missing(self) -> Iterator[tuple[Problem, dict[str, Any]]]:
        """Problems that the file lacks, with their rows; endless for an endless task."""
        done = {row[RECORD]["id"] for row in self.done()}
        return ((problem, row) for problem, row in numbered_rows(self.task) if problem.id not in done)

    def append(self, row: Mapping[str, Any], text: str | None, record: Record) -> None:
        """Write one row, at once, every number as the table has it."""
        # Half a surrogate pair, which a service may send, is no character; tables that hold one are refused.
        with self.output.open("a", encoding="utf-8", errors="replace") as file:
            file.write(json_text({**row, self.column: text, RECORD: vars(record)}) + "\n")

    def solve(
        self, batch: Sequence[tuple[Problem, dict[str, Any]]], source: Source, verifier: Verifier, seed: int
    ) -> None:
        """Propose solutions for some problems and keep, for each, the shortest that the verifier passes."""
        problems = [problem for problem, _ in batch]
        groups = source.propose([student_messages(problem, verifier) for problem in problems], seed)
        flat = [(problem, text) for problem, group in zip(problems, groups, strict=True) for text in group]
        verdicts = iter(verifier.verify([text for _, text in flat], [problem for problem, _ in flat]))
        for (problem, row), group in zip(batch, groups, strict=True):
            judged = [(text, next(verdicts)) for text in group]
            passed = [text for text, verdict in judged if verdict.status is Status.PASS]
            statuses = Counter(str(verdict.status) for _, verdict in judged)
            self.append(row, min(passed, key=len, default=None), Record(problem.id, statuses, stands_in(problem)))

    def coverage(self) -> Coverage:
        """Counts over all that the file holds."""
        found = Coverage()
        for row in self.done():
            record = Record(**row[RECORD])
            found.problems += 1
            found.covered += row[self.column] is not None
            found.not_solved += row[self.column] is None and not record.statuses
            found.statuses.update(record.statuses)
            if record.answer_in_prompt:
                found.answer_in_prompt.append(record.id)
        found.proposals = found.statuses.total()
        return found
