"""What a table says is what arrives, digit by digit; and tables that cannot be read say where and why."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlsd_pl.errors import SetupError
from rlsd_pl.tasks import TableTask
from rlsd_pl.tasks.values import json_text
from rlsd_pl.types import Problem

ANSWERS = {
    '"2024-01-05"': "2024-01-05",
    '"2024-01-05T10:00:00Z"': "2024-01-05T10:00:00Z",
    '"007"': "007",
    '"1e3"': "1e3",
    '"NA"': "NA",
    "7": "7",
    "9007199254740993": "9007199254740993",
    "123456789012345678901234567890": "123456789012345678901234567890",
    "1.50": "1.50",
    "1E5": "1E5",
    "0.1": "0.1",
    "1e999": "1e999",
    "true": "true",
    "false": "false",
    '["a", 1.50, null]': '["a", 1.50, null]',
    '{"x": 1, "y": {"z": [true]}}': '{"x": 1, "y": {"z": [true]}}',
    '{"y": "\\u00e9"}': '{"y": "é"}',
}
"""JSON source of a value, and the answer that it is."""


def by_prompt(path: Path, **arguments: Any) -> dict[str, Problem]:
    task = TableTask(str(path), **{"prompt_column": "q", "answer_column": "a", "val_fraction": 0.5, **arguments})
    problems = [task.problem(split, i) for split in ("train", "val") for i in range(task.size(split))]
    return {problem.prompt: problem for problem in problems}


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.json.gz"])
def test_json_answers_arrive_as_they_were_written(name, tmp_path):
    rows = [f'{{"q": "question {n}", "a": {source}}}' for n, source in enumerate(ANSWERS)]
    text = "[" + ",\n".join(rows) + "]" if ".json" in name and ".jsonl" not in name else "\n".join(rows) + "\n"
    problems = by_prompt(write(tmp_path / name, text))
    assert [problems[f"question {n}"].answer for n in range(len(ANSWERS))] == list(ANSWERS.values())


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz"])
def test_fields_of_separated_files_are_text(name, tmp_path):
    separator = "\t" if "tsv" in name else ","
    answers = ["007", "9007199254740993", "1.50", "2024-01-05", "NA", "null", "None", "True", "1e3", "-0", "nan", " x"]
    lines = [
        separator.join(("q", "a", "n")),
        *(separator.join((f"question {n}", a, "")) for n, a in enumerate(answers)),
    ]
    problems = by_prompt(write(tmp_path / name, "\n".join(lines) + "\n"))
    assert [problems[f"question {n}"].answer for n in range(len(answers))] == [*answers[:-1], "x"]
    assert problems["question 0"].privileged == {"a": "007", "n": ""}


def test_a_blank_in_a_column_of_numbers_changes_no_other(tmp_path):
    path = write(tmp_path / "t.csv", 'q,a\none,9007199254740993\ntwo,\nthree,5\n"fo,ur\nlines","1,5"\n')
    problems = by_prompt(path)
    assert {q: p.answer for q, p in problems.items()} == {
        "one": "9007199254740993",
        "two": None,
        "three": "5",
        "fo,ur\nlines": "1,5",
    }


def test_columns_of_mixed_types_and_rows_of_mixed_columns_are_read(tmp_path):
    rows = '{"q": "one", "a": 7, "b": 1}\n\n{"q": "two", "a": "seven"}\n{"a": [7], "q": "three"}\n'
    problems = by_prompt(write(tmp_path / "t.jsonl", rows))
    assert {q: p.answer for q, p in problems.items()} == {"one": "7", "two": "seven", "three": "[7]"}
    assert problems["one"].metadata == {"a": 7, "b": 1}
    assert problems["three"].metadata == {"a": [7], "b": None}


def test_objects_gain_no_keys_from_other_rows(tmp_path):
    rows = '{"q": "one", "a": 1, "schema": {"x": {}}}\n{"q": "two", "a": 2, "schema": {"y": [], "z": 1.0}}\n'
    problems = by_prompt(write(tmp_path / "t.jsonl", rows))
    assert problems["one"].metadata["schema"] == {"x": {}}
    assert problems["two"].metadata["schema"] == {"y": [], "z": 1.0}


def test_templates_and_mapped_texts_write_values_as_json(tmp_path):
    row = '{{"q": "q{n}", "a": 1, "cost": 1.50, "options": ["a", "b"], "none": null}}'
    path = write(tmp_path / "t.jsonl", "\n".join(row.format(n=n) for n in range(6)))
    problem = by_prompt(
        path,
        prompt_template="{{ q }} {{ cost }} {{ options }} {{ options | join('/') }} {{ cost * 2 }} [{{ none }}]",
        privileged={"hint": "options", "spent": "cost"},
        metadata={"choices": "options"},
    )
    shown = problem['q0 1.50 ["a", "b"] a/b 3.0 []']
    assert shown.privileged == {"hint": '["a", "b"]', "spent": "1.50"}
    assert shown.metadata["choices"] == ["a", "b"]


def test_rows_are_chosen_by_value_or_by_text(tmp_path):
    path = write(tmp_path / "t.csv", "q,a,level\n" + "".join(f"q{n},{n},{n % 3}\n" for n in range(12)))
    assert {p.answer for p in by_prompt(path, where={"level": 1}).values()} == {"1", "4", "7", "10"}
    assert {p.answer for p in by_prompt(path, where={"level": ["1", 2]}).values()} == set("12457") | {"8", "10", "11"}


def test_parquet_keeps_its_types_and_renders_them_exactly(tmp_path):
    columns = {
        "date": (pa.date32(), datetime.date(2024, 1, 5), "2024-01-05"),
        "time": (pa.timestamp("us"), datetime.datetime(2024, 1, 5, 10, 30), "2024-01-05T10:30:00"),
        "long": (pa.int64(), 9007199254740993, "9007199254740993"),
        "exact": (pa.decimal128(10, 2), decimal.Decimal("1.50"), "1.50"),
        "narrow": (pa.float32(), 0.1, "0.1"),
        "wide": (pa.float64(), 0.1, "0.1"),
        "yes": (pa.bool_(), True, "true"),
        "list": (pa.list_(pa.int64()), [1, 2], "[1, 2]"),
        "text": (pa.string(), "007", "007"),
    }
    table = {name: pa.array([value, value, None], kind) for name, (kind, value, _) in columns.items()}
    pq.write_table(pa.table({"q": ["a", "b", "c"], **table}), tmp_path / "t.parquet")
    for name, (_, _, text) in columns.items():
        problems = by_prompt(tmp_path / "t.parquet", answer_column=name)
        assert (problems["a"].answer, problems["c"].answer) == (text, None), name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", '{"q": "a", "a": 1}\n{"q": ', "row 2: Expecting value"),
        ("t.jsonl", '{"q": "a", "a": 1, "a": 2}\n', "row 1: an object names 'a' twice"),
        ("t.jsonl", '{"q": "a", "a": 1}\n["b", 2]\n', r'row 2: got list \["b", 2\]; expected a JSON object'),
        ("t.jsonl", '{"q": "\\ud800", "a": 1}\n', "row 1: .*surrogates"),
        ("t.jsonl", "[" * 100_000, "cannot be read as json"),
        ("t.json", '[{"q": "a"}, 3]', "row 2: got int 3; expected a JSON object"),
        ("t.csv", "q,a\none,1,extra\n", "line 2: got 3 fields; expected 2"),
        ("t.csv", "q,a\none\n", "line 2: got 1 fields; expected 2"),
        ("t.csv", "q,a,a\none,1,2\n", "two columns named 'a'"),
        ("t.csv", 'q,a\n"one"x,1\n', "cannot be read as csv"),
        ("t.csv", "q,a\n", "holds no rows"),
        ("t.csv", "q;a\none;1\n", "no column 'q'; it has q;a"),
        ("t.parquet", "not parquet", "cannot be read"),
        ("t.csv", "q,a\none,\ntwo,  \nthree,\n", "the column 'a' is blank in all 3 rows. Set --task.answer_column"),
        ("t.csv", "q,a\n,1\n,2\n", "the column 'q' is blank in all 2 rows. Set --task.prompt_column"),
    ],
)
def test_unreadable_tables_say_where_and_why(name, content, said, tmp_path):
    with pytest.raises(SetupError, match=said) as refused:
        by_prompt(write(tmp_path / name, content))
    assert len(str(refused.value).splitlines()) == 1


def test_other_encodings_and_broken_archives_are_refused(tmp_path):
    with pytest.raises(SetupError, match="can't decode"):
        by_prompt(write(tmp_path / "t.csv", "q,a\ngrüße,1\n", "latin-1"))
    with pytest.raises(SetupError, match=r"cannot be read"):
        by_prompt(write(tmp_path / "t.jsonl", '{"q": "grüße", "a": 1}\n', "latin-1"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"q,a\n" * 99)[:-12])
    with pytest.raises(SetupError, match="cannot be read as csv"):
        by_prompt(tmp_path / "t.csv.gz")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert set(by_prompt(write(tmp_path / "t.csv", "q,a\none,1\ntwo,2\nthree,3\n", "utf-8-sig"))) == {
        "one",
        "two",
        "three",
    }
    rows = "".join(f'{{"q": "{q}", "a": 1}}\n' for q in ("one", "two", "three"))
    assert set(by_prompt(write(tmp_path / "t.jsonl", rows, "utf-8-sig"))) == {"one", "two", "three"}


def test_a_long_document_fits_into_a_field(tmp_path):
    text = "x" * 300_000
    assert by_prompt(write(tmp_path / "t.csv", f"q,a\none,{text}\ntwo,2\nthree,3\n"))["one"].answer == text


@pytest.mark.parametrize("pattern", ["#### .+", "(#+) (.+)"])
def test_an_answer_pattern_has_one_group(pattern, tmp_path):
    path = write(tmp_path / "t.csv", "q,a\none,#### 1\ntwo,#### 2\n")
    with pytest.raises(SetupError, match="expected one, around the answer"):
        by_prompt(path, answer_pattern=pattern)


def test_mapped_columns_that_are_empty_throughout_are_refused(tmp_path):
    path = write(tmp_path / "t.jsonl", "".join(f'{{"q": "q{n}", "a": "1", "test_list": []}}\n' for n in range(4)))
    with pytest.raises(SetupError, match=r"'test_list' is blank in all 4 rows. Set --task.metadata.tests"):
        by_prompt(path, metadata={"tests": "test_list"})


def test_repeated_prompts_are_told(tmp_path, caplog):
    path = write(tmp_path / "t.csv", "q,a\none,1\none,2\n" + "".join(f"q{n},{n}\n" for n in range(9)))
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        by_prompt(path)
    assert "1 of 11 train rows repeat the prompt of another row" in caplog.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.timedelta(days=1), '"1 day, 0:00:00"'),
        (decimal.Decimal("1.50"), "1.50"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (datetime.datetime(2024, 1, 5, 10), '"2024-01-05T10:00:00"'),
        (2**70, "1180591620717411303424"),
        ("é", '"é"'),
    ],
)
def test_json_text_is_json_whatever_the_value(value, text):
    assert json_text({"v": value}) == f'{{"v": {text}}}'
    json.loads(text)
