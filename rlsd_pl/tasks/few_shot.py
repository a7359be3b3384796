"""What stands before every problem of a task: a system prompt, and worked examples as turns of the chat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rlsd_pl.errors import SetupError
from rlsd_pl.ranges import check_count
from rlsd_pl.tasks.base import Example, unit_hash
from rlsd_pl.tasks.columns import Cell
from rlsd_pl.tasks.files import Rows, is_file_name, read_table
from rlsd_pl.tasks.values import text_of
from rlsd_pl.types import Message, Problem

MOST = 64
"""Examples in front of one problem."""

SOLUTION_FIELDS = ("demonstration", "solution")
"""Where a worked solution stands, the first one that is there; ``objective=sft`` learns from the same."""


def chat(system_prompt: str | None, examples: Sequence[Example], prompt: str) -> list[Message]:
    """The student's chat: system turn, a user and an assistant turn for each example, the problem."""
    messages: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for example in examples:
        messages.append({"role": "user", "content": example.prompt})
        messages.append({"role": "assistant", "content": example.solution})
    return [*messages, {"role": "user", "content": prompt}]


def drawn(count: int, candidates: Iterable[Callable[[], Example | None]]) -> tuple[Example, ...]:
    """The first ``count`` candidates with a worked solution, no prompt twice.

    Raises:
        SetupError: if ``count`` is out of range, or there are not as many.
    """
    check_count("task.few_shot", count, 0, MOST)
    found: dict[str, Example] = {}
    for candidate in candidates if count else ():
        example = candidate()
        if example is not None:
            found.setdefault(example.prompt, example)
        if len(found) == count:
            break
    if len(found) < count:
        raise SetupError(
            f"Got task.few_shot={count}; {len(found)} of the training problems have a worked solution. Name its column "
            "with --task.privileged.solution COLUMN, or set --task.few_shot to a JSONL file of problems and solutions."
        )
    return tuple(found.values())


def by_seed(indices: Sequence[int], seed: int) -> list[int]:
    """The indices in an order that depends on the seed; more of them move none of the others."""
    return sorted(indices, key=lambda index: unit_hash(f"few_shot/{seed}/{index}"))


def read_examples(
    path: str, prompts: Sequence[Cell], solutions: Sequence[Cell], answer: Callable[[dict[str, Any]], str | None]
) -> tuple[Example, ...]:
    """The examples in a file of problems and worked solutions.

    Args:
        prompts, solutions: of each, the first whose columns the file has is used.
        answer: of a row; ``None`` where it has none.

    Raises:
        SetupError: for a missing file, one without these columns, or a blank row; too many examples.
    """
    if not (is_file_name(path) and Path(path).expanduser().is_file()):
        raise SetupError(
            f"Got task.few_shot={path!r}; expected a number of examples, or an existing .jsonl file of problems and "
            "worked solutions."
        )
    rows = read_table(path, None, "train")
    check_count(f"task.few_shot={path} with rows", len(rows), 1, MOST)
    prompt, solution = _present(path, rows, prompts, "problem"), _present(path, rows, solutions, "worked solution")
    folder = str(Path(path).expanduser().resolve().parent)
    examples = []
    for number, row in enumerate(rows, start=1):
        shown, worked = (text_of(cell.value(row, folder)).strip() for cell in (prompt, solution))
        if not shown or not worked:
            raise SetupError(
                f"{path}, row {number}: the problem or its solution is blank. Fill it in, or drop the row."
            )
        problem = Problem(f"{path}, row {number}", chat(None, (), shown), answer(row))
        examples.append(Example(problem, worked))
    return tuple(examples)


def _present(path: str, rows: Rows, cells: Sequence[Cell], what: str) -> Cell:
    for cell in cells:
        if cell.columns and cell.columns <= set(rows.column_names):
            return cell
    raise SetupError(
        f"{path} has no column with the {what}: it has {', '.join(rows.column_names)}; expected "
        f"{' or '.join(cell.source for cell in cells)}. Correct the file that --task.few_shot names."
    )


def refuse_held_out(examples: Sequence[Example], held_out: Callable[[str], bool]) -> None:
    """Raises :class:`SetupError` if an example is a held-out problem."""
    if shown := [example.problem.id for example in examples if held_out(example.prompt)]:
        raise SetupError(
            f"Got task.few_shot with held-out problems: {', '.join(shown[:3])}. An evaluation would see its own "
            "solutions. Take them out of the file."
        )
