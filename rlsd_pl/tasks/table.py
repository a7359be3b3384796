"""Problems from a table: JSONL, CSV, Parquet, or a data set of the hub."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from rlsd_pl.errors import SetupError
from rlsd_pl.patterns import TextPattern
from rlsd_pl.tasks.base import Split, Task, unit_hash
from rlsd_pl.tasks.columns import Cell, Wanted, cells, is_blank, matches
from rlsd_pl.tasks.few_shot import SOLUTION_FIELDS, Example, by_seed, chat, drawn, read_examples, refuse_held_out
from rlsd_pl.tasks.files import COMPRESSED, Rows, is_file_name, read_table
from rlsd_pl.tasks.values import text_of
from rlsd_pl.types import Problem

log = logging.getLogger(__name__)


class TableTask(Task):
    """One problem per row. Every text column is privileged text by its own name; all else is metadata.

    Text stays as it was written: fields of a CSV file are text, JSON numbers keep their digits where text is wanted,
    and lists and objects are then JSON.

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
        few_shot: worked examples before every problem: how many to draw from the training problems, or a file of
            problems and solutions (columns as in ``path``, or ``prompt`` and ``solution``). A solution is the
            privileged text ``solution`` (or ``demonstration``). Rows that are shown as examples are not trained on.
        seed: which examples are drawn.
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
        few_shot: int | str | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 < val_fraction < 1:  # true of nan too
            raise SetupError(
                f"Got task.val_fraction={val_fraction}; expected a share between 0 and 1, for example 0.1."
            )
        self.name = Path(path.removesuffix(COMPRESSED)).stem
        self.folder = str(Path(path).expanduser().resolve().parent)
        self.prompt_column, self.answer_column = prompt_column, answer_column
        self.answer_pattern = _with_one_group(answer_pattern) if answer_pattern else None
        self.prompt = Cell(prompt_template or prompt_column)
        self.privileged, self.metadata, self.where = cells(privileged), cells(metadata), where or {}
        self.system_prompt = system_prompt
        self.rows: dict[Split, Rows] = {"train": self._load(path, hub_config, hub_split)}
        if val_path is None and hub_val_split and not is_file_name(path):
            val_path = path
        if val_path is None:
            self.index = self._split_by_hash(val_fraction)
            self.rows["val"] = self.rows["train"]
        else:
            self.rows["val"] = self._load(val_path, hub_config, hub_val_split or hub_split)
            self.index = self._without_overlap()
        if few_shot:
            self._take_examples(few_shot, seed)

    def size(self, split: Split) -> int:
        return len(self.index[split])

    def problem(self, split: Split, index: int) -> Problem:
        row = self.row(split, index)
        others = {name: value for name, value in row.items() if name != self.prompt_column}
        texts = {name: value for name, value in others.items() if isinstance(value, str)}
        return Problem(
            id=f"{self.name}/{split}/{self.index[split][index]}",
            messages=chat(self.system_prompt, self.examples, text_of(self.prompt.value(row, self.folder))),
            answer=self._answer(row),
            privileged=texts | {name: text_of(cell.value(row, self.folder)) for name, cell in self.privileged.items()},
            metadata={name: value for name, value in others.items() if name not in texts}
            | {name: cell.value(row, self.folder) for name, cell in self.metadata.items()},
        )

    def row(self, split: Split, index: int) -> dict[str, Any]:
        """The table's row behind a problem, as it is."""
        if not 0 <= index < self.size(split):
            raise IndexError(f"Got index {index} of {self.size(split)} {split} problems.")
        return self.rows[split][self.index[split][index]]

    def _take_examples(self, few_shot: int | str, seed: int) -> None:
        """Set the examples, and train on none of them."""
        if isinstance(few_shot, int):
            indices = by_seed(range(self.size("train")), seed)
            self.examples = drawn(few_shot, [partial(self._example, index) for index in indices])
        else:
            solutions = [self.privileged[name] for name in SOLUTION_FIELDS if name in self.privileged]
            solutions += map(Cell, SOLUTION_FIELDS)
            self.examples = read_examples(few_shot, [self.prompt, Cell("prompt")], solutions, self._answer)
            held_out = {text_of(self.prompt.value(self.row("val", i), self.folder)) for i in range(self.size("val"))}
            refuse_held_out(self.examples, {text.strip() for text in held_out}.__contains__)
        shown = {example.prompt for example in self.examples}
        rows = self.rows["train"]
        self.index["train"] = [
            n for n in self.index["train"] if text_of(self.prompt.value(rows[n], self.folder)).strip() not in shown
        ]

    def _example(self, index: int) -> Example | None:
        problem = self.problem("train", index)
        solution = next((t for name in SOLUTION_FIELDS if (t := problem.privileged.get(name, "").strip())), None)
        return Example(problem, solution) if solution and problem.prompt else None

    def _answer(self, row: dict[str, Any]) -> str | None:
        text = "" if self.answer_column is None else text_of(row.get(self.answer_column)).strip()
        if not text or self.answer_pattern is None:
            return text or None
        found = self.answer_pattern.matches(text)
        return (found[0][1] or "").strip() or None if found else None

    def _load(self, path: str, hub_config: str | None, hub_split: str) -> Rows:
        rows = read_table(path, hub_config, hub_split)
        self._check_columns(path, rows.column_names)
        self._check_filled(path, rows)
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
                    f"{path} has no column {missing[0]!r}; it has {', '.join(present)}. Correct --task.{setting}, "
                    "which names it."
                )

    def _check_filled(self, path: str, rows: Rows) -> None:
        """A column that is blank throughout is the wrong column; one that is blank here and there costs those rows."""
        wanted = {"prompt_column": self.prompt_column, "answer_column": self.answer_column}
        wanted |= {f"privileged.{name}": cell.source for name, cell in self.privileged.items() if cell.is_column}
        wanted |= {f"metadata.{name}": cell.source for name, cell in self.metadata.items() if cell.is_column}
        blank = {setting: name for setting, name in wanted.items() if name is not None}
        for row in rows:
            blank = {setting: name for setting, name in blank.items() if is_blank(row[name])}
            if not blank:
                return
        setting, name = next(iter(blank.items()))
        raise SetupError(
            f"{path}: the column {name!r} is blank in all {len(rows)} rows. Set --task.{setting} to a column that is "
            "filled in."
        )

    def _kept(self, split: Split) -> list[tuple[int, str]]:
        """Number and prompt of the rows that ``where`` leaves."""
        rows = self.rows[split]
        kept = [(n, text_of(row[self.prompt_column])) for n, row in enumerate(rows) if matches(row, self.where)]
        if not kept:
            found = {name: ", ".join(sorted({text_of(row[name]) for row in rows})[:5]) for name in self.where}
            raise SetupError(f"Got task.where={self.where}, which leaves 0 of {len(rows)} rows; they hold {found}.")
        repeated = len(kept) - len({prompt.strip() for _, prompt in kept})
        if repeated and self.prompt.is_column:
            log.warning("%d of %d %s rows repeat the prompt of another row.", repeated, len(kept), split)
        return kept

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


def _with_one_group(pattern: str) -> TextPattern:
    compiled = TextPattern(pattern, "task.answer_pattern")
    if compiled.groups != 1:
        raise SetupError(
            f"Got task.answer_pattern={pattern!r} with {compiled.groups} groups; expected one, around the answer, for "
            "example '#### (.+)'. Write groups that only hold together as (?:...)."
        )
    return compiled
