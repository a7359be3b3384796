"""Problems from a table: JSONL, CSV, Parquet, or a data set of the hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from datasets import Dataset

from rlsd_pl.errors import SetupError
from rlsd_pl.patterns import TextPattern
from rlsd_pl.tasks.base import Split, Task, unit_hash
from rlsd_pl.tasks.columns import Cell, Wanted, cells, matches
from rlsd_pl.tasks.files import COMPRESSED, is_file_name, read_table
from rlsd_pl.types import Message, Problem

log = logging.getLogger(__name__)


class TableTask(Task):
    """One problem per row. Every text column is privileged text by its own name; all else is metadata.

    So ``--context.field rationale`` shows the teacher the column ``rationale``, and a verifier finds a list ``tests``
    in ``Problem.metadata``. ``privileged`` and ``metadata`` add values under other names. Rows are split into train
    and val by a hash of the prompt column: equal prompts never stand on both sides, and adding rows moves no others.

    ``prompt_template`` and the values of ``privileged`` and ``metadata`` may be Jinja2 templates over the row's
    columns; ``{{ folder }}`` is the folder of the table.

    Args:
        path: a .jsonl, .json, .csv, .tsv or .parquet file (the text formats also as .gz), or a hub data set id.
        prompt_column: the problem as the student sees it.
        answer_column: the reference answer; ``null`` for verifiers that need none.
        answer_pattern: regular expression with one group that finds the answer inside the answer column, for example
            ``#### (.+)`` for GSM8K.
        prompt_template: what the student sees, where that is more than the prompt column.
        privileged: further privileged texts: name to column or template.
        metadata: what the verifier needs, by the name that it looks for: name to column or template.
        where: only rows with these values: column to a value or a list of values.
        system_prompt: put before every problem.
        val_path: file with the held-out problems; ``null`` holds out ``val_fraction`` of ``path``.
        val_fraction: share of prompts that is held out.
        hub_config, hub_split: for a hub data set.
        hub_val_split: split of a hub data set that holds the held-out problems.

    Raises:
        SetupError: for a missing file, an empty one, or a column that does not exist.
    """

    def __init__(
        self,
        path: str,
        prompt_column: str = "prompt",
        answer_column: str | None = "answer",
        answer_pattern: str | None = None,
        prompt_template: str | None = None,
        privileged: dict[str, str] | None = None,
        metadata: dict[str, str] | None = None,
        where: dict[str, Wanted] | None = None,
        system_prompt: str | None = None,
        val_path: str | None = None,
        val_fraction: float = 0.1,
        hub_config: str | None = None,
        hub_split: str = "train",
        hub_val_split: str | None = None,
    ) -> None:
        if not 0 < val_fraction < 1:
            raise SetupError(
                f"Got task.val_fraction={val_fraction}; expected a share between 0 and 1, for example 0.1."
            )
        self.name = Path(path.removesuffix(COMPRESSED)).stem
        self.folder = str(Path(path).expanduser().resolve().parent)
        self.prompt_column, self.answer_column = prompt_column, answer_column
        self.answer_pattern = TextPattern(answer_pattern, "task.answer_pattern") if answer_pattern else None
        self.prompt = Cell(prompt_template or prompt_column)
        self.privileged, self.metadata, self.where = cells(privileged), cells(metadata), where or {}
        self.system_prompt = system_prompt
        self.rows: dict[Split, Dataset] = {"train": self._load(path, hub_config, hub_split)}
        if val_path is None and hub_val_split and not is_file_name(path):
            val_path = path
        if val_path is None:
            self.index = self._split_by_hash(val_fraction)
            self.rows["val"] = self.rows["train"]
        else:
            self.rows["val"] = self._load(val_path, hub_config, hub_val_split or hub_split)
            self.index = self._without_overlap()

    def size(self, split: Split) -> int:
        """See :meth:`Task.size`."""
        return len(self.index[split])

    def problem(self, split: Split, index: int) -> Problem:
        """See :meth:`Task.problem`."""
        row = self.row(split, index)
        messages: list[Message] = [{"role": "user", "content": str(self.prompt.value(row, self.folder) or "")}]
        if self.system_prompt:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        others = {name: value for name, value in row.items() if name != self.prompt_column}
        texts = {name: value for name, value in others.items() if isinstance(value, str)}
        return Problem(
            id=f"{self.name}/{split}/{self.index[split][index]}",
            messages=messages,
            answer=self._answer(row),
            privileged=texts | {name: str(cell.value(row, self.folder)) for name, cell in self.privileged.items()},
            metadata={name: value for name, value in others.items() if name not in texts}
            | {name: cell.value(row, self.folder) for name, cell in self.metadata.items()},
        )

    def row(self, split: Split, index: int) -> dict[str, Any]:
        """The table's row behind a problem, as it is."""
        if not 0 <= index < self.size(split):
            raise IndexError(f"Got index {index} of {self.size(split)} {split} problems.")
        return cast(dict[str, Any], self.rows[split][self.index[split][index]])

    def _answer(self, row: dict[str, Any]) -> str | None:
        value = None if self.answer_column is None else row[self.answer_column]
        if value is None or not str(value).strip():
            return None
        if self.answer_pattern is None:
            return str(value).strip()
        found = self.answer_pattern.matches(str(value))
        return found[0][1].strip() if found else None

    def _load(self, path: str, hub_config: str | None, hub_split: str) -> Dataset:
        rows = read_table(path, hub_config, hub_split)
        self._check_columns(path, rows.column_names)
        return rows

    def _check_columns(self, path: str, present: list[str]) -> None:
        wanted = [self.prompt_column, *([self.answer_column] if self.answer_column else [])]
        if missing := [name for name in wanted if name not in present]:
            raise SetupError(
                f"{path} has no column {missing[0]!r}; it has {', '.join(present)}. Set --task.prompt_column "
                "and --task.answer_column to the ones that hold the problem and its answer."
            )
        mapped = {"prompt_template": self.prompt.columns, "where": set(self.where)}
        mapped |= {f"privileged.{name}": cell.columns for name, cell in self.privileged.items()}
        mapped |= {f"metadata.{name}": cell.columns for name, cell in self.metadata.items()}
        for setting, names in mapped.items():
            if missing := sorted(names - set(present)):
                raise SetupError(
                    f"{path} has no column {missing[0]!r}; it has {', '.join(present)}. Mend --task.{setting}, which "
                    "names it."
                )

    def _kept(self, split: Split) -> list[tuple[int, str]]:
        """Number and prompt of the rows that ``where`` leaves."""
        rows = self.rows[split]
        numbers = range(len(rows))
        if self.where:
            columns = rows.select_columns(list(self.where))
            numbers = [n for n in numbers if matches(cast(dict[str, Any], columns[n]), self.where)]
        prompts = list(rows[self.prompt_column])
        return [(number, str(prompts[number])) for number in numbers]

    def _split_by_hash(self, val_fraction: float) -> dict[Split, list[int]]:
        index: dict[Split, list[int]] = {"train": [], "val": []}
        kept = self._kept("train")
        for number, prompt in kept:
            index["val" if unit_hash(prompt) < val_fraction else "train"].append(number)
        if not index["val"] or not index["train"]:
            raise SetupError(
                f"Holding out {val_fraction:.0%} of {len(kept)} rows leaves {len(index['train'])} to "
                f"train on and {len(index['val'])} to evaluate on. Set --task.val_fraction or --task.val_path."
            )
        return index

    def _without_overlap(self) -> dict[Split, list[int]]:
        val, train = self._kept("val"), self._kept("train")
        held_out = {prompt.strip() for _, prompt in val}
        kept = [number for number, prompt in train if prompt.strip() not in held_out]
        if dropped := len(train) - len(kept):
            log.warning("Dropping %d of %d train problems that stand among the val ones too.", dropped, len(train))
        return {"train": kept, "val": [number for number, _ in val]}
