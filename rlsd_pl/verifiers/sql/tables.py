"""What the schema of a SQLite database says of its tables, as far as a copy with other contents must know it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

_ORDINARY_COLUMN = 0
"""``PRAGMA table_xinfo``: not generated, not hidden."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: ``columns`` of one table hold ``parent_columns`` of the table ``parent``."""

    columns: tuple[int, ...]
    parent: str
    parent_columns: tuple[int, ...]


@dataclass(slots=True)
class TableSchema:
    """What the schema says of one table; columns by index.

    Attributes:
        name: as in the schema.
        columns: names of the columns that can be written.
        key: columns of the primary key.
        unique: columns that are unique by themselves; their values may change rows, but no new ones may stand in them.
        bound: columns of the primary key and of UNIQUE indices of several columns; their values stay in their rows.
        optional: columns without NOT NULL.
        row_id: the INTEGER PRIMARY KEY, which a double needs anew.
        references: foreign keys.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[int, ...]
    unique: frozenset[int]
    bound: frozenset[int]
    optional: frozenset[int]
    row_id: int | None
    references: list[ForeignKey] = field(default_factory=list)

    @property
    def referring(self) -> frozenset[int]:
        """Columns of all foreign keys."""
        return frozenset(column for reference in self.references for column in reference.columns)


def describe(database: sqlite3.Connection) -> dict[str, TableSchema]:
    """The tables that hold rows of their own, by name."""
    names = database.execute("SELECT name FROM pragma_table_list WHERE schema='main' AND type='table' ORDER BY name")
    tables = {name: _table(database, name) for (name,) in names.fetchall() if not name.startswith("sqlite_")}
    for table in tables.values():
        table.references = _references(database, table, tables)
    return tables


def _table(database: sqlite3.Connection, name: str) -> TableSchema:
    info = database.execute('SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)', (name,)).fetchall()
    info = [column for column in info if column[4] == _ORDINARY_COLUMN]
    index_of = {column[0]: index for index, column in enumerate(info)}
    key = tuple(sorted((i for i, column in enumerate(info) if column[3] > 0), key=lambda i: info[i][3]))
    rows = database.execute(
        'SELECT i.name, c.name FROM pragma_index_list(?) i, pragma_index_info(i.name) c WHERE i."unique"', (name,)
    )
    indices: dict[str, set[int]] = {}
    for index, column in rows:
        indices.setdefault(index, set()).update([index_of[column]] if column in index_of else [])
    alone = {column for columns in indices.values() if len(columns) == 1 for column in columns}
    together = {column for columns in indices.values() if len(columns) > 1 for column in columns}
    bound = frozenset({*key, *together})
    return TableSchema(
        name=name,
        columns=tuple(index_of),
        key=key,
        unique=frozenset(alone - bound),
        bound=bound,
        optional=frozenset(index for index, column in enumerate(info) if not column[2]),
        row_id=key[0] if len(key) == 1 and info[key[0]][1].upper() == "INTEGER" else None,
    )


def _references(database: sqlite3.Connection, table: TableSchema, tables: dict[str, TableSchema]) -> list[ForeignKey]:
    rows = database.execute(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (table.name,)
    )
    found: dict[int, list[tuple[str, str, str | None]]] = {}
    for number, parent, column, parent_column in rows.fetchall():
        found.setdefault(number, []).append((parent, column, parent_column))
    names = {name.lower(): name for name in tables}
    references = []
    for parts in found.values():
        parent = tables.get(names.get(parts[0][0].lower(), ""))
        if parent is None:
            continue
        columns = _indices(table, [column for _, column, _ in parts])
        # without names, the primary key is meant
        targets = _indices(parent, [column for _, _, column in parts if column is not None]) or parent.key
        if len(columns) == len(targets) == len(parts):
            references.append(ForeignKey(columns, parent.name, targets))
    return references


def _indices(table: TableSchema, names: Sequence[str]) -> tuple[int, ...]:
    """Of those among ``names`` that can be written; SQLite's names have no case."""
    index_of = {name.lower(): index for index, name in enumerate(table.columns)}
    return tuple(index_of[name.lower()] for name in names if name.lower() in index_of)


def parents_first(tables: dict[str, TableSchema]) -> list[str]:
    """Names of the tables; in a circle of references, the first by name begins."""
    order: list[str] = []
    waiting = list(tables)
    while waiting:
        ready = [n for n in waiting if all(r.parent in (n, *order) for r in tables[n].references)]
        order.append((ready or waiting)[0])
        waiting.remove(order[-1])
    return order


def quoted(name: str) -> str:
    """``name`` as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'
