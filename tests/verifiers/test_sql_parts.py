"""Tokens, sort keys, comparison of results, and perturbed copies, each alone."""

from __future__ import annotations

import itertools
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl.verifiers.sql.compare import Columns, same_result
from rlsd_pl.verifiers.sql.order import sort_keys, with_keys
from rlsd_pl.verifiers.sql.perturb import perturb
from rlsd_pl.verifiers.sql.screen import refuse_query
from rlsd_pl.verifiers.sql.tokens import tokenize


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="'\"`[]()-/*;, \naSELECT1.", max_size=80))
def test_tokens_cover_the_text_in_order(query: str) -> None:
    tokens = tokenize(query)
    assert all(query[token.start : token.end] == token.text for token in tokens)
    assert all(a.end <= b.start for a, b in itertools.pairwise(tokens))
    refuse_query(query)


def test_tokenizing_is_linear() -> None:
    for piece in ("/*", "'", '"', "(", "--", "[", "/* *", "a"):
        tokenize(piece * 200_000)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("SELECT a FROM t", []),
        ("SELECT a FROM t ORDER BY a", ["a"]),
        ("select a from t order by a desc, lower(b) ASC NULLS LAST limit 3", ["a", "lower(b)"]),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", []),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", []),
        ("SELECT a FROM t -- ORDER BY a", []),
        ("SELECT ' ORDER BY a' FROM t", []),
        (
            "WITH c AS (SELECT 1 ORDER BY 1) SELECT * FROM c ORDER BY 2 + (1, 2)[0], x COLLATE NOCASE;",
            ["2 + (1, 2)[0]", "x"],
        ),
    ],
)
def test_sort_keys_are_those_of_the_outer_query(query: str, keys: list[str]) -> None:
    assert [key.expression for key in sort_keys(query)] == keys


def test_keys_join_the_output() -> None:
    assert with_keys("SELECT a FROM t ORDER BY b", ["b"]) == "SELECT a , (b) FROM t ORDER BY b"
    shown = with_keys("SELECT a IS DISTINCT FROM b, (SELECT 1 FROM u) FROM t ORDER BY b", ["b"])
    assert shown == "SELECT a IS DISTINCT FROM b, (SELECT 1 FROM u) , (b) FROM t ORDER BY b"
    assert with_keys("SELECT 1", ["b"]) is None


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ([[1]], [[1.0]], True),
        ([[1.0]], [[1.0 + 5e-10]], True),
        ([[1.0]], [[1.0 + 5e-9]], False),
        ([[10**12]], [[10**12 + 1]], False),
        ([[1e12]], [[10**12 + 1]], True),
        ([[0.0]], [[5e-17]], True),
        ([["1"]], [[1]], False),
        ([[None]], [[0]], False),
        ([[b"a"]], [["a"]], False),
        ([[float("inf")]], [[float("inf")]], True),
        ([[float("inf")]], [[1e308]], False),
        ([[1], [1], [2]], [[1], [2], [2]], False),
        ([[1, 2]], [[1]], False),
        ([], [], True),
        # equal up to rounding in one column, told apart by another
        ([[1.0, "a"], [1.0 + 1e-12, "b"]], [[1.0 + 1e-12, "a"], [1.0, "b"]], True),
    ],
)
def test_bag_comparison(left: list[Any], right: list[Any], same: bool) -> None:
    assert same_result(left, right, None, Columns.IN_ORDER) is same
    assert same_result(right, left, None, Columns.IN_ORDER) is same


def test_groups_fix_the_order_between_but_not_within() -> None:
    rows = [[1], [2], [3]]
    assert same_result([[2], [1], [3]], rows, [(0, 2), (2, 3)], Columns.IN_ORDER)
    assert not same_result([[3], [2], [1]], rows, [(0, 2), (2, 3)], Columns.IN_ORDER)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([None, 0, 1, 1.0, "1", b"1"]), min_size=3, max_size=3), max_size=6), st.randoms()
)
def test_shuffled_rows_and_columns_are_the_same_result(rows: list[list[Any]], chance: random.Random) -> None:
    order = [0, 1, 2]
    chance.shuffle(order)
    other = [[row[i] for i in order] for row in rows]
    chance.shuffle(other)
    assert same_result(other, rows, None, Columns.ANY_ORDER)
    if rows:
        assert not same_result([*other[:-1], [*other[-1][:-1], "new"]], rows, None, Columns.ANY_ORDER)


SCHEMA = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE NOT NULL, size INTEGER CHECK (size >= 0), note TEXT);
CREATE TABLE child (parent_id INTEGER NOT NULL REFERENCES parent(id), part INTEGER, price REAL NOT NULL,
                    twice GENERATED ALWAYS AS (price * 2), PRIMARY KEY (parent_id, part)) WITHOUT ROWID;
CREATE TABLE empty (x);
CREATE TRIGGER guard BEFORE DELETE ON parent BEGIN SELECT RAISE(ABORT, 'no'); END;
CREATE VIEW names AS SELECT code FROM parent;
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        parents = [(i, f"c{i}", i * 3 % 50, f"note {i}") for i in range(1, 61)]
        connection.executemany("INSERT INTO parent VALUES (?, ?, ?, ?)", parents)
        connection.executemany("INSERT INTO child VALUES (?, ?, ?)", [(1 + i % 60, i, i / 7) for i in range(300)])
        connection.commit()
    return path


def contents(path: Path) -> list[list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("parent", "child", "empty")]


def test_perturbed_copy_keeps_the_constraints_and_changes_the_rest(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    perturb(source, tmp_path / "copy.sqlite", seed=1)
    assert source.read_bytes() == before
    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
        assert copy.execute("SELECT COUNT(*) FROM names").fetchone()[0] >= 60
    old, new = contents(source), contents(tmp_path / "copy.sqlite")
    assert {row[1] for row in old[0]} == {row[1] for row in new[0]}
    assert len({row[1] for row in new[0]}) == len(new[0])
    assert sum(a != b for a, b in zip(old[0], new[0], strict=False)) > 40
    assert any(row[3] is None for row in new[0])
    assert all(row[2] is None or row[2] >= 0 for row in new[0])
    assert {row[0:2] for row in old[1]} == {row[0:2] for row in new[1]}


def test_free_tables_get_duplicates(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, x INT NOT NULL); CREATE TABLE u (x)")
        connection.executemany("INSERT INTO t (x) VALUES (?)", [(i,) for i in range(20)])
        connection.execute("INSERT INTO u VALUES (7)")
        connection.commit()
    perturb(tmp_path / "a.sqlite", tmp_path / "b.sqlite")
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as copy:
        assert copy.execute("SELECT COUNT(*) FROM t").fetchone() == (23,)
        assert copy.execute("SELECT COUNT(*) FROM u").fetchone() == (3,)


def test_the_same_seed_gives_the_same_copy(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        perturb(source, tmp_path / name, seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
