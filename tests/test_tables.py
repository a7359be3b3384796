"""Tables as tasks: formats, column mapping, templates, filters, splits."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rlsd_pl.errors import SetupError
from rlsd_pl.tasks import TableTask

ROWS = [{"q": f"question {n}", "a": str(n), "level": n % 3, "code": f"c{n}", "tests": [f"t{n}"]} for n in range(30)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def make(path: Path, **arguments: Any) -> TableTask:
    return TableTask(str(path), prompt_column="q", answer_column="a", **arguments)


def problems(task: TableTask):
    return [task.problem(split, i) for split in ("train", "val") for i in range(task.size(split))]


def test_text_columns_are_privileged_and_all_else_is_metadata(table):
    problem = next(p for p in problems(make(table)) if p.answer == "4")
    assert problem.privileged == {"a": "4", "code": "c4"}
    assert problem.metadata == {"level": 1, "tests": ["t4"]}
    assert problem.prompt == "question 4"


def test_values_come_under_other_names_and_from_templates(table):
    task = make(
        table,
        prompt_template="Level {{ level }}: {{ q }}",
        privileged={"solution": "code"},
        metadata={"entry_point": "code", "cases": "tests", "database": "{{ folder }}/{{ code }}.sqlite"},
    )
    problem = next(p for p in problems(task) if p.answer == "5")
    assert problem.prompt == "Level 2: question 5"
    assert problem.privileged["solution"] == "c5"
    assert problem.metadata["entry_point"] == "c5"
    assert problem.metadata["cases"] == ["t5"]
    assert problem.metadata["database"] == f"{table.parent}/c5.sqlite"


def test_filters_keep_rows_by_value_and_ids_keep_their_row_numbers(table):
    kept = problems(make(table, where={"level": [0, 1], "code": ["c3", "c4", "c5", "c6", "c9"]}, val_fraction=0.5))
    assert sorted(int(p.answer or "") for p in kept) == [3, 4, 6, 9]
    assert all(p.id.rpartition("/")[2] == p.answer for p in kept)


def test_a_compressed_table_is_the_table(table):
    packed = table.with_name("rows.jsonl.gz")
    packed.write_bytes(gzip.compress(table.read_bytes()))
    assert problems(make(packed)) == problems(make(table))


def test_held_out_files_drop_their_problems_from_training(table, caplog):
    held_out = table.with_name("held_out.jsonl")
    held_out.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        task = make(table, val_path=str(held_out))
    assert (task.size("train"), task.size("val")) == (25, 5)
    assert "Dropping 5 of 30" in caplog.text


def test_equal_prompts_stay_on_one_side_and_new_rows_move_none(table):
    before = {p.prompt: p.id.split("/")[1] for p in problems(make(table, val_fraction=0.3))}
    with table.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in [ROWS[0], {**ROWS[1], "q": "another"}])
    after = [(p.prompt, p.id.split("/")[1]) for p in problems(make(table, val_fraction=0.3))]
    assert all(before.get(prompt, side) == side for prompt, side in after)
    assert len(after) == 32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompt_template": "{{ qq }}"}, "Correct --task.prompt_template"),
        ({"metadata": {"tests": "test"}}, "no column 'test'.*--task.metadata.tests"),
        ({"where": {"difficulty": 1}}, "--task.where"),
        ({"prompt_template": "{{ q "}, "expected Jinja2"),
        ({"where": {"level": 7}}, "leaves 0 of 30 rows; they hold .*0, 1, 2"),
    ],
)
def test_mistakes_name_the_setting(table, arguments, said):
    with pytest.raises(SetupError, match=said):
        make(table, **arguments)


def test_templates_reach_nothing_of_python(table):
    task = make(table, prompt_template="{{ q.__class__.__mro__ }}")
    with pytest.raises(Exception, match="unsafe"):
        problems(task)
