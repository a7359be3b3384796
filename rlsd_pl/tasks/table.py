"""Problems from a table: JSONL, CSV, Parquet, or a data set of the hub."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any, cast

from datasets import Dataset, disable_progress_bars, load_dataset

from rlsd_pl.errors import SetupError
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import Message, Problem

log = logging.getLogger(__name__)

BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


class TableTask(Task):
    """One problem per row. Every text column is privileged text by its own name; all else is metadata.

    So ``--context.field rationale`` shows the teacher the column ``rationale``, and a verifier finds ``tests`` or
    ``schema`` in ``Problem.metadata``. Rows are split into train and val by a hash of the prompt: equal prompts never
    stand on both sides, and adding rows moves no others.

    Args:
        path: a .jsonl, .json, .csv, .tsv or .parquet file, or a hub data set id.
        prompt_column: the problem as the student sees it.
        answer_column: the reference answer; ``null`` for verifiers that need none.
        answer_pattern: regular expression with one group that finds the answer inside the answer column, for example
            ``#### (.+)`` for GSM8K.
        system_prompt: put before every problem.
        val_path: file with the held-out problems; ``null`` holds out ``val_fraction`` of ``path``.
        val_fraction: share of prompts that is held out.
        hub_config, hub_split: for a hub data set.

    Raises:
        SetupError: for a missing file, an empty one, or a column that does not exist.
    """

    def __init__(
        self,
        path: str,
        prompt_column: str = "prompt",
        answer_column: str | None = "answer",
        answer_pattern: str | None = None,
        system_prompt: str | None = None,
        val_path: str | None = None,
        val_fraction: float = 0.1,
        hub_config: str | None = None,
        hub_split: str = "train",
    ) -> None:
        if not 0 < val_fraction < 1:
            raise SetupError(
                f"Got task.val_fraction={val_fraction}; expected a share between 0 and 1, for example 0.1."
            )
        self.name = Path(path).stem
        self.prompt_column, self.answer_column = prompt_column, answer_column
        self.answer_pattern = re.compile(answer_pattern) if answer_pattern else None
        self.system_prompt = system_prompt
        self.rows: dict[Split, Dataset] = {"train": self._load(path, hub_config, hub_split)}
        if val_path is None:
            self.index = self._split_by_hash(val_fraction)
            self.rows["val"] = self.rows["train"]
        else:
            self.rows["val"] = self._load(val_path, hub_config, hub_split)
            self.index = self._without_overlap()

    def size(self, split: Split) -> int:
        """See :meth:`Task.size`."""
        return len(self.index[split])

    def problem(self, split: Split, index: int) -> Problem:
        """See :meth:`Task.problem`."""
        if not 0 <= index < self.size(split):
            raise IndexError(f"Got index {index} of {self.size(split)} {split} problems.")
        number = self.index[split][index]
        row = cast(dict[str, Any], self.rows[split][number])
        messages: list[Message] = [{"role": "user", "content": str(row.pop(self.prompt_column) or "")}]
        if self.system_prompt:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        return Problem(
            id=f"{self.name}/{split}/{number}",
            messages=messages,
            answer=self._answer(row),
            privileged={name: value for name, value in row.items() if isinstance(value, str)},
            metadata={name: value for name, value in row.items() if not isinstance(value, str)},
        )

    def _answer(self, row: dict[str, Any]) -> str | None:
        value = None if self.answer_column is None else row[self.answer_column]
        if value is None or not str(value).strip():
            return None
        if self.answer_pattern is None:
            return str(value).strip()
        found = self.answer_pattern.search(str(value))
        return found[1].strip() if found else None

    def _load(self, path: str, hub_config: str | None, hub_split: str) -> Dataset:
        disable_progress_bars()
        suffix = Path(path).suffix
        if suffix in BUILDERS:
            rows = self._load_file(Path(path).expanduser(), BUILDERS[suffix])
        elif Path(path).exists():
            raise SetupError(f"{path} ends in {suffix!r}; expected one of {', '.join(BUILDERS)}.")
        else:
            rows = cast(Dataset, load_dataset(path, hub_config, split=hub_split))
        if len(rows) == 0:
            raise SetupError(f"{path} holds no rows. Set --task.path to a table with at least two problems.")
        wanted = [self.prompt_column, *([self.answer_column] if self.answer_column else [])]
        if missing := [name for name in wanted if name not in rows.column_names]:
            raise SetupError(
                f"{path} has no column {missing[0]!r}; it has {', '.join(rows.column_names)}. Set --task.prompt_column "
                "and --task.answer_column to the ones that hold the problem and its answer."
            )
        return rows

    @staticmethod
    def _load_file(path: Path, builder: str) -> Dataset:
        if not path.is_file():
            raise SetupError(f"No file at {path}. Set --task.path to a table of problems.")
        if path.stat().st_size == 0:
            raise SetupError(f"{path} is empty. Set --task.path to a table with at least two problems.")
        options: dict[str, Any] = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
        try:
            return cast(Dataset, load_dataset(builder, data_files=str(path), split="train", **options))
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise SetupError(f"{path} cannot be read as {builder}: {reason}") from error

    def _split_by_hash(self, val_fraction: float) -> dict[Split, list[int]]:
        index: dict[Split, list[int]] = {"train": [], "val": []}
        for number, prompt in enumerate(self.rows["train"][self.prompt_column]):
            index["val" if _unit_hash(str(prompt)) < val_fraction else "train"].append(number)
        if not index["val"] or not index["train"]:
            raise SetupError(
                f"Holding out {val_fraction:.0%} of {len(self.rows['train'])} rows leaves {len(index['train'])} to "
                f"train on and {len(index['val'])} to evaluate on. Set --task.val_fraction or --task.val_path."
            )
        return index

    def _without_overlap(self) -> dict[Split, list[int]]:
        held_out = {str(prompt).strip() for prompt in self.rows["val"][self.prompt_column]}
        prompts = self.rows["train"][self.prompt_column]
        train = [number for number, prompt in enumerate(prompts) if str(prompt).strip() not in held_out]
        if dropped := len(prompts) - len(train):
            log.warning("Dropping %d of %d train problems that stand in the val file too.", dropped, len(prompts))
        return {"train": train, "val": list(range(len(self.rows["val"])))}


def _unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.strip().encode(), digest_size=8).digest(), "big") / 2**64
