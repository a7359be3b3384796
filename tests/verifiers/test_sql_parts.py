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


def checked(path: Path) -> list[list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
    return contents(path)


@pytest.mark.parametrize("number", range(4))
def test_perturbed_copy_keeps_the_constraints_and_changes_the_rest(source: Path, tmp_path: Path, number: int) -> None:
    before = source.read_bytes()
    perturb(source, tmp_path / "copy.sqlite", seed=1, number=number)
    assert source.read_bytes() == before
    (parents, children, _), (new_parents, new_children, nothing) = contents(source), checked(tmp_path / "copy.sqlite")
    # parents are unique by code, so they cannot come twice; 30 % or 10 % of 60 are lost
    assert len(new_parents) == (42 if number % 2 == 0 else 54)
    assert nothing == []
    assert {row[0] for row in new_parents} < {row[0] for row in parents}
    assert {row[1] for row in new_parents} < {row[1] for row in parents}
    code_of = {row[0]: row[1] for row in parents}
    assert sum(code_of[row[0]] != row[1] for row in new_parents) > 30
    assert any(row[3] is None for row in new_parents)
    assert all(row[2] is None or row[2] >= 0 for row in new_parents)
    # a child's key holds its parent: children of lost parents go with them
    assert 0 < len(new_children) < len(children)
    assert {row[0] for row in new_children} <= {row[0] for row in new_parents}


SHOP = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, boss INTEGER REFERENCES person(id));
CREATE TABLE staff (person_id INTEGER PRIMARY KEY REFERENCES person, pay INTEGER);
CREATE TABLE shelf (room TEXT, place INTEGER, label TEXT UNIQUE, PRIMARY KEY (room, place));
CREATE TABLE item (id INTEGER PRIMARY KEY, room TEXT, place INTEGER, owner INTEGER NOT NULL REFERENCES staff(person_id),
                   FOREIGN KEY (room, place) REFERENCES shelf(room, place));
CREATE TABLE hen (id INTEGER PRIMARY KEY, egg INTEGER REFERENCES egg(id));
CREATE TABLE egg (id INTEGER PRIMARY KEY, hen INTEGER NOT NULL REFERENCES hen(id));
CREATE TABLE loose (id INTEGER PRIMARY KEY, gone INTEGER REFERENCES nowhere(id), "odd ""name" TEXT COLLATE NOCASE);
"""


@pytest.mark.parametrize("number", range(4))
def test_references_of_every_form_hold_in_a_copy(tmp_path: Path, number: int) -> None:
    """Hierarchies, keys that refer, references of two columns, circles, and one to a table that is not there."""
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as shop:
        shop.executescript(SHOP)
        shop.executemany("INSERT INTO person VALUES (?, ?, ?)", [(i, f"p{i}", i // 3 or None) for i in range(1, 61)])
        shop.executemany("INSERT INTO staff VALUES (?, ?)", [(i, i * 10) for i in range(1, 41)])
        shop.executemany("INSERT INTO shelf VALUES (?, ?, ?)", [(f"r{i % 5}", i, f"l{i}") for i in range(50)])
        items = [(i, f"r{i % 5}", i % 50, 1 + i % 40) for i in range(1, 201)]
        shop.executemany("INSERT INTO item VALUES (?, ?, ?, ?)", items)
        shop.executemany("INSERT INTO hen VALUES (?, ?)", [(i, 31 - i) for i in range(1, 31)])
        shop.executemany("INSERT INTO egg VALUES (?, ?)", [(i, 31 - i) for i in range(1, 31)])
        shop.executemany("INSERT INTO loose VALUES (?, ?, ?)", [(i, i, f"x{i}") for i in range(1, 21)])
        shop.commit()
    perturb(tmp_path / "shop.sqlite", tmp_path / "copy.sqlite", number=number)
    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        broken = [row for row in copy.execute("PRAGMA foreign_key_check") if row[0] != "loose"]
        assert broken == []
        rooted = """WITH RECURSIVE r(id) AS (SELECT id FROM person WHERE boss IS NULL
                    UNION SELECT p.id FROM person p JOIN r ON p.boss = r.id) SELECT COUNT(*) FROM r"""
        assert copy.execute(rooted).fetchone() == copy.execute("SELECT COUNT(*) FROM person").fetchone()
        for table, rows in (("person", 60), ("staff", 40), ("shelf", 50), ("item", 200), ("loose", 20)):
            count, lowest, highest = copy.execute(f"SELECT COUNT(*), MIN(rowid), MAX(rowid) FROM {table}").fetchone()
            assert count != rows
            assert count > rows / 4
            assert table == "shelf" or highest - lowest + 1 > count  # gaps in the keys


def test_rows_are_written_in_another_order(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.execute("CREATE TABLE word (text TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO word VALUES (?)", [(f"w{i:02}",) for i in range(40)])
        connection.commit()
    perturb(tmp_path / "a.sqlite", tmp_path / "b.sqlite")
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as copy:
        words = [word for (word,) in copy.execute("SELECT text FROM word ORDER BY rowid")]
    assert len(words) == 28
    assert words != sorted(words)


def test_free_tables_lose_rows_and_get_doubles(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, x INT NOT NULL); CREATE TABLE u (x)")
        connection.executemany("INSERT INTO t (x) VALUES (?)", [(i,) for i in range(20)])
        connection.execute("INSERT INTO u VALUES (7)")
        connection.commit()
    for number, rows in ((0, 20 - 6 + 3), (1, 20 - 2 + 10)):
        perturb(tmp_path / "a.sqlite", tmp_path / f"{number}.sqlite", number=number)
        with closing(sqlite3.connect(tmp_path / f"{number}.sqlite")) as copy:
            assert copy.execute("SELECT COUNT(*) FROM t").fetchone() == (rows,)
            assert copy.execute("SELECT COUNT(*) FROM u").fetchone() == (3,)


def test_the_same_seed_gives_the_same_copy(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        perturb(source, tmp_path / name, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
