"""Small tables in the form that each task preset expects; written for the tests."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS = [{"name": "wait", "parameters": {"seconds": {"type": "int"}}}]


def _gsm8k(n: int, folder: Path) -> dict[str, Any]:
    return {"question": f"What is {n} + 3?", "answer": f"{n} + 3 = {n + 3}\n#### {n + 3}"}


def _jsonl(n: int, folder: Path) -> dict[str, Any]:
    return {"prompt": f"What is {n} + 3?", "answer": str(n + 3)}


def _math(n: int, folder: Path) -> dict[str, Any]:
    solution = f"We add: $\\boxed{{{n + 3}}}$"
    return {"problem": f"Find ${n} + 3$.", "solution": solution, "answer": str(n + 3), "level": 1}


def _word_problems(n: int, folder: Path) -> dict[str, Any]:
    return {"problem": f"What is {n} + 3?", "answer": str(n + 3), "solution": f"{n} + 3 = {n + 3}\n#### {n + 3}"}


def _humaneval(n: int, folder: Path) -> dict[str, Any]:
    return {
        "task_id": f"T/{n}",
        "prompt": f'def add_{n}(x: int) -> int:\n    """Return x plus {n}."""\n',
        "entry_point": f"add_{n}",
        "canonical_solution": f"    return x + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n    assert candidate(-5) == {n - 5}\n",
    }


def _mbpp(n: int, folder: Path) -> dict[str, Any]:
    return {
        "text": f"Write a function to multiply a number by {n}.",
        "code": f"def double(x):\r\n  return 2 * x\r\ndef times_{n}(x):\r\n  return {n} * x",
        "test_list": [f"assert times_{n}(2) == {2 * n}", f"assert times_{n}(-3) == {-3 * n}"],
    }


def _text_to_sql(n: int, folder: Path) -> dict[str, Any]:
    path = folder / "numbers.sqlite"
    if not path.exists():
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER NOT NULL)")
            database.executemany("INSERT INTO numbers VALUES (?, ?)", [(k, k * k) for k in range(50)])
    return {
        "question": f"What is the square of {n}?",
        "query": f"SELECT square FROM numbers WHERE n = {n}",
        "schema": "CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER NOT NULL)",
        "database": path.name,
    }


def _json_extraction(n: int, folder: Path) -> dict[str, Any]:
    answer = json.dumps({"name": f"Ida {n}", "age": n})
    return {"text": f"Ida {n} turned {n}.", "schema": json.dumps(SCHEMA), "answer": answer}


def _tool_calls(n: int, folder: Path) -> dict[str, Any]:
    answers = [{"name": "wait", "arguments": {"seconds": n}}]
    return {"query": f"Wait for {n} s.", "answers": json.dumps(answers), "tools": json.dumps(TOOLS)}


ROWS = {
    "gsm8k": _gsm8k,
    "humaneval": _humaneval,
    "json_extraction": _json_extraction,
    "jsonl": _jsonl,
    "math": _math,
    "word_problems": _word_problems,
    "mbpp": _mbpp,
    "text_to_sql": _text_to_sql,
    "tool_calls": _tool_calls,
}
"""Maps a preset's name to the maker of its row n."""


def write_table(preset: str, folder: Path, rows: int = 24) -> Path:
    """A JSONL file for ``--task PRESET``."""
    path = folder / f"{preset}.jsonl"
    path.write_text("".join(json.dumps(ROWS[preset](n, folder)) + "\n" for n in range(2, rows + 2)))
    return path
