"""A second database with the same schema and other contents, so that constants and lucky filters fail.

Declared constraints hold in the copy (keys, UNIQUE, NOT NULL, CHECK, references), so two queries that agree on every
database of the schema agree on it.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NULL_SHARE, _BOUNDARY_SHARE, _DUPLICATE_SHARE = 0.05, 0.03, 0.15
_MIN_DUPLICATES = 2
_ORDINARY_COLUMN = 0
"""``PRAGMA table_xinfo``: not generated, not hidden."""

Row = list[Any]


@dataclass(frozen=True, slots=True)
class _Table:
    """What the schema says of one table; columns by index.

    Attributes:
        name: as in the schema.
        columns: names of the columns that can be written.
        movable: columns whose values may change rows: in no key and no UNIQUE index.
        free: movable columns that refer to no other table, so that new values may stand in them.
        nullable: movable columns without NOT NULL.
        row_id: the INTEGER PRIMARY KEY, which a duplicate needs anew.
    """

    name: str
    columns: tuple[str, ...]
    movable: frozenset[int]
    free: frozenset[int]
    nullable: frozenset[int]
    row_id: int | None


def perturb(source: Path, target: Path, seed: int = 0, boldness: float = 1.0) -> None:
    """Write a perturbed copy of the SQLite file ``source`` to ``target``; the same one for the same seed.

    In every table, movable values change rows, some become NULL where that is allowed, some free ones become boundary
    values (``boldness`` times as many as usual), and some rows come twice under a new row id. A row that
    breaks a constraint stays as it was.
    """
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro&immutable=1", uri=True)) as original,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        original.backup(copy)
        copy.execute("PRAGMA foreign_keys=OFF")
        copy.text_factory = lambda data: data.decode("utf-8", "replace")
        for (trigger,) in copy.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            copy.execute(f"DROP TRIGGER {_quoted(trigger)}")
        tables = copy.execute("SELECT name FROM pragma_table_list WHERE schema='main' AND type='table'").fetchall()
        copy.execute("BEGIN")
        for name in sorted(name for (name,) in tables if not name.startswith("sqlite_")):
            _perturb_table(copy, _describe(copy, name), random.Random(f"{seed}:{digest}:{name}"), boldness)
        copy.execute("COMMIT")


def _describe(database: sqlite3.Connection, name: str) -> _Table:
    info = database.execute('SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)', (name,)).fetchall()
    info = [column for column in info if column[4] == _ORDINARY_COLUMN]
    index_of = {column[0]: index for index, column in enumerate(info)}
    keys = [index for index, column in enumerate(info) if column[3] > 0]
    unique = database.execute(
        'SELECT c.name FROM pragma_index_list(?) i, pragma_index_info(i.name) c WHERE i."unique"', (name,)
    )
    bound = {*keys, *(index_of[column] for (column,) in unique if column in index_of)}
    references = database.execute('SELECT "from" FROM pragma_foreign_key_list(?)', (name,))
    referring = {index_of[column] for (column,) in references if column in index_of}
    movable = frozenset(range(len(info))) - bound
    is_row_id = len(keys) == 1 and info[keys[0]][1].upper() == "INTEGER"
    return _Table(
        name=name,
        columns=tuple(index_of),
        movable=movable,
        free=movable - referring,
        nullable=frozenset(index for index in movable if not info[index][2]),
        row_id=keys[0] if is_row_id else None,
    )


def _perturb_table(database: sqlite3.Connection, table: _Table, chance: random.Random, boldness: float) -> None:
    columns = ", ".join(_quoted(column) for column in table.columns)
    originals: list[Row] = [list(row) for row in database.execute(f"SELECT {columns} FROM {_quoted(table.name)}")]
    if not originals:
        return
    changed = _changed_rows(originals, table, chance, min(1.0, boldness * _BOUNDARY_SHARE))
    database.execute(f"DELETE FROM {_quoted(table.name)}")
    marks = ", ".join("?" * len(table.columns))
    insert = f"INSERT INTO {_quoted(table.name)} ({columns}) VALUES ({marks})"
    for row, original in zip(changed, originals, strict=True):
        try:
            database.execute(insert, row)
        except sqlite3.IntegrityError:
            with suppress(sqlite3.IntegrityError):
                database.execute(insert, original)
    count = max(_MIN_DUPLICATES, round(_DUPLICATE_SHARE * len(changed)))
    for row in chance.choices(changed, k=count):
        duplicate = [None if index == table.row_id else value for index, value in enumerate(row)]
        with suppress(sqlite3.IntegrityError):
            database.execute(insert, duplicate)


def _changed_rows(originals: list[Row], table: _Table, chance: random.Random, boundary_share: float) -> list[Row]:
    rows = [list(row) for row in originals]
    for index in sorted(table.movable):
        values = [row[index] for row in rows]
        chance.shuffle(values)
        for row, value in zip(rows, values, strict=True):
            row[index] = value
    for row in rows:
        for index in sorted(table.movable):
            draw = chance.random()
            if index in table.nullable and draw < _NULL_SHARE:
                row[index] = None
            elif index in table.free and draw > 1 - boundary_share:
                row[index] = _boundary(row[index], chance)
    return rows


def _boundary(value: Any, chance: random.Random) -> Any:
    """A value at the edge of what a filter may expect, of the same type."""
    if isinstance(value, int):
        return chance.choice([0, 1, -1, value + 1, value - 1]) if abs(value) < 1 << 62 else 0
    if isinstance(value, float):
        return chance.choice([0.0, -value, value + 0.01, value - 0.01])
    if isinstance(value, str):
        return chance.choice(["", value.swapcase(), f"{value} "])
    return value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
