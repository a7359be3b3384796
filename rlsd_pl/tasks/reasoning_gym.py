"""Any data set of the library reasoning-gym (2505.24760), by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from rlsd_pl.errors import SetupError
from rlsd_pl.ranges import check_count
from rlsd_pl.tasks.base import Split, Task, unit_hash
from rlsd_pl.tasks.columns import Cell
from rlsd_pl.tasks.few_shot import SOLUTION_FIELDS, Example, chat, drawn, read_examples, refuse_held_out
from rlsd_pl.types import Problem

ATTEMPTS = 256
"""Items that are looked at for one that belongs to the wanted split."""

PROMPTS = ("prompt", "question")
"""Columns that hold the problem in a file of examples."""

SOLUTION_KEYS = ("answer_cot", "solution")
"""Where a data set keeps worked solutions, the more telling one first."""


class ReasoningGymTask(Task):
    """Endless, seeded problems of one reasoning-gym data set; judge them with ``ReasoningGymVerifier``.

    Problems are parted into train and val by a hash of the question, so that none stands on both sides. A worked
    solution, where the data set has one, is privileged text ``solution``; further texts keep their names.

    Args:
        dataset: its name, for example ``chain_sum``.
        config: the data set's own settings, for example ``{max_terms: 3}``.
        seed: selects the stream of problems.
        val_size: number of validation problems.
        val_fraction: share of questions that is held out.
        items: problems are drawn, with replacement, from this many; some data sets allow fewer.
        system_prompt: put before every problem.
        few_shot: worked examples before every problem: how many to draw from the training problems, or a file with the
            columns ``prompt`` and ``solution``. An example that is drawn shows the worked solution, or the answer where
            the data set has none. A question that is shown as an example is not trained on.

    Raises:
        SetupError: if the library is absent, or has no such data set or setting.
    """

    def __init__(
        self,
        dataset: str,
        config: dict[str, Any] | None = None,
        seed: int = 0,
        val_size: int = 256,
        val_fraction: float = 0.2,
        items: int = 10_000,
        system_prompt: str | None = None,
        few_shot: int | str | None = None,
    ) -> None:
        check_count("task.val_size", val_size)
        check_count("task.items", items)
        if not 0 < val_fraction < 1:  # true of nan too
            raise SetupError(f"Got task.val_fraction={val_fraction}; expected a share between 0 and 1, such as 0.2.")
        self.name = dataset
        self.config = dict(config or {})
        self.val_size, self.val_fraction = val_size, val_fraction
        self.system_prompt = system_prompt
        self.items = _create(dataset, {**self.config, "seed": seed, "size": items})
        if isinstance(few_shot, int):
            numbers = range(ATTEMPTS if few_shot > 0 else 0)
            self.examples = drawn(few_shot, [partial(self._example, number) for number in numbers])
        elif few_shot:
            prompts, solutions = list(map(Cell, PROMPTS)), list(map(Cell, SOLUTION_FIELDS))
            self.examples = read_examples(few_shot, prompts, solutions, lambda row: None)
            held_out = {self.problem("val", index).prompt.strip() for index in range(val_size)}
            refuse_held_out(self.examples, held_out.__contains__)

    def size(self, split: Split) -> int | None:
        return self.val_size if split == "val" else None

    def problem(self, split: Split, index: int) -> Problem:
        size = self.size(split)
        if index < 0 or (size is not None and index >= size):
            raise IndexError(f"Got index {index} of {size} {split} problems.")
        entry = self._entry(split, index)
        return Problem(
            id=f"{self.name}/{split}/{index}",
            messages=chat(self.system_prompt, self.examples, entry["question"]),
            answer=entry["answer"],
            privileged=_privileged(entry["metadata"]),
            metadata={"dataset": self.name, "config": self.config, "entry": entry},
        )

    def _entry(self, split: Split, index: int) -> dict[str, Any]:
        shown_prompts = {example.prompt for example in self.examples}
        for attempt in range(ATTEMPTS):
            entry = self.items[int(unit_hash(f"{split}/{index}/{attempt}") * len(self.items))]
            shown = split == "train" and entry["question"].strip() in shown_prompts
            if not shown and (unit_hash(entry["question"]) < self.val_fraction) == (split == "val"):
                return entry
        raise SetupError(
            f"{ATTEMPTS} items of reasoning-gym's {self.name!r} gave no {split} problem: it has too few different "
            "questions. Widen task.config, or change task.val_fraction."
        )

    def _example(self, number: int) -> Example | None:
        problem = self.problem("train", number)
        solution = problem.privileged.get("solution") or problem.answer
        return Example(problem, solution) if solution else None


def _create(dataset: str, config: Mapping[str, Any]) -> Any:
    try:
        # By name: a type checker without the extra takes ``import reasoning_gym`` for this very file.
        reasoning_gym: Any = import_module("reasoning_gym")
    except ImportError:
        raise SetupError("The task needs reasoning-gym: pip install 'rlsd_pl[reasoning-gym]'.") from None
    try:
        return reasoning_gym.create_dataset(dataset, **config)
    except (ValueError, TypeError, AssertionError) as error:
        raise SetupError(f"reasoning-gym cannot make {dataset!r} with {dict(config)}: {error}.") from None


def _privileged(metadata: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: value for name, value in metadata.items() if isinstance(value, str)}
    solution = next((metadata[key] for key in SOLUTION_KEYS if metadata.get(key) is not None), None)
    if solution is not None:
        texts["solution"] = solution if isinstance(solution, str) else json.dumps(solution)
    return texts
