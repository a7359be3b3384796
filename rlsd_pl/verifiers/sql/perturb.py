"""Other databases with the same schema, so that constants, lucky filters and lucky orders fail.

Declared constraints hold in a copy (keys, UNIQUE, NOT NULL, CHECK, references), so two queries that agree on every
database of the schema agree on it.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NULL_SHARE, _BOUNDARY_SHARE = 0.05, 0.08
_LOST_AND_DOUBLED = ((0.3, 0.15), (0.1, 0.5))
"""Share of a table's rows that are left out, and that come twice: copies are smaller and larger in turn."""
_MIN_DOUBLED, _MIN_ROWS_TO_LOSE = 2, 3
_ORDINARY_COLUMN = 0
"""``PRAGMA table_xinfo``: not generated, not hidden."""

Row = list[Any]
Values = tuple[Any, ...]
Column = tuple[str, int]
"""A table's name and a column's index in it."""
Target = tuple[str, tuple[int, ...]]
"""A table's name and the columns that a foreign key refers to."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """A foreign key: ``columns`` of one table hold ``parent_columns`` of the table ``parent``."""

    columns: tuple[int, ...]
    parent: str
    parent_columns: tuple[int, ...]


@dataclass(slots=True)
class _Table:
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
    references: list[_Reference] = field(default_factory=list)

    @property
    def referring(self) -> frozenset[int]:
        """Columns of all foreign keys."""
        return frozenset(column for reference in self.references for column in reference.columns)


def perturb(source: Path, target: Path, seed: int = 0, number: int = 0) -> None:
    """Write copy ``number`` of the SQLite file ``source`` to ``target``; the same one for the same seed.

    In every table some rows are missing and some come twice. Keys are dealt out anew among the numbers that were keys,
    so they have gaps, and references follow them. Other values change rows, some become NULL where that is allowed,
    some become boundary values: three times as many in each further copy. Rows are written in a random order. A row
    that breaks a constraint stays as it was, or is left out.
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
        copy.execute("BEGIN")
        _Copy(copy, f"{seed + number}:{digest}", number).write()
        copy.execute("COMMIT")


class _Copy:
    """The work on one copy, table by table, parents first."""

    def __init__(self, database: sqlite3.Connection, seed: str, number: int) -> None:
        self.database, self.seed = database, seed
        self.boundary_share = min(1.0, 3**number * _BOUNDARY_SHARE)
        self.lost_share, self.doubled_share = _LOST_AND_DOUBLED[number % 2]
        self.tables = _describe(database)
        self.order = _parents_first(self.tables)
        self.numbers = self._renumbered()
        # by the columns that references lead to: values that are gone, and those that are left
        self.lost: dict[Target, set[Values]] = {}
        self.left: dict[Target, list[Values]] = {}

    def write(self) -> None:
        """Replace the rows of every table."""
        for position, name in enumerate(self.order):
            # In a circle of references some child is written before its parent, which then must keep its rows.
            early = {self.order[i] for i in range(position)}
            complete = any(r.parent == name for child in early for r in self.tables[child].references)
            self._write_table(self.tables[name], random.Random(f"{self.seed}:{name}"), complete)

    def _write_table(self, table: _Table, chance: random.Random, complete: bool) -> None:
        originals = self._read(table)
        if not originals:
            return
        own = [reference for reference in table.references if reference.parent == table.name]
        kept = originals if complete else self._kept(originals, own, chance)
        changed = _changed(kept, table, chance, self.boundary_share)
        # second choice: only the unique values change rows, which as a whole no constraint can refuse
        others = [_mixed(row, original, table.unique) for row, original in zip(changed, kept, strict=True)]
        written = [r for v in zip(changed, others, kept, strict=True) for r in self._insert_first(table, v, chance)]
        for target in {(r.parent, r.parent_columns) for t in self.tables.values() for r in t.references}:
            if target[0] == table.name:
                left = {_values(row, target[1]) for row in written}
                self.lost[target] = {_values(row, target[1]) for row in originals} - left
                self.left[target] = sorted(left, key=repr)
        self._double(table, written, len(originals), chance)

    def _read(self, table: _Table) -> list[Row]:
        names = ", ".join(map(_quoted, table.columns))
        rows = [list(row) for row in self.database.execute(f"SELECT {names} FROM {_quoted(table.name)}")]
        self.database.execute(f"DELETE FROM {_quoted(table.name)}")
        return rows

    def _kept(self, rows: list[Row], own: Sequence[_Reference], chance: random.Random) -> list[Row]:
        """Rows without the lost ones, in a random order. A row that others of its table refer to is not lost."""
        pointed = {(r.parent_columns, _values(row, r.columns)) for r in own for row in rows}
        parents = {r.parent_columns for r in own}
        free = [i for i, row in enumerate(rows) if not any((c, _values(row, c)) in pointed for c in parents)]
        count = max(1, round(self.lost_share * len(rows))) if len(rows) >= _MIN_ROWS_TO_LOSE else 0
        lost = set(chance.sample(free, min(count, len(free))))
        kept = [row for i, row in enumerate(rows) if i not in lost]
        chance.shuffle(kept)
        return kept

    def _insert_first(self, table: _Table, versions: Iterable[Row], chance: random.Random) -> list[Row]:
        """The first of a row's versions that the constraints allow, as a list of one; of none if they allow none."""
        for version in versions:
            row = self._pointed(table, version, chance)
            if row is not None and self._insert(table, row):
                return [row]
        return []

    def _pointed(self, table: _Table, row: Row, chance: random.Random) -> Row | None:
        """``row`` with references to lost rows led to others; ``None`` if one of them is a part of a key."""
        row = list(row)
        for reference in table.references:
            target = reference.parent, reference.parent_columns
            values = _values(row, reference.columns)
            if values not in self.lost.get(target, ()):
                continue
            if table.bound.union(table.unique).intersection(reference.columns) or not self.left[target]:
                return None
            for column, value in zip(reference.columns, chance.choice(self.left[target]), strict=True):
                row[column] = value
        return row

    def _insert(self, table: _Table, row: Sequence[Any]) -> bool:
        names, marks = ", ".join(map(_quoted, table.columns)), ", ".join("?" * len(table.columns))
        numbered = [self.numbers.get((table.name, i), {}).get(value, value) for i, value in enumerate(row)]
        with suppress(sqlite3.IntegrityError):
            self.database.execute(f"INSERT INTO {_quoted(table.name)} ({names}) VALUES ({marks})", numbered)
            return True
        return False

    def _double(self, table: _Table, written: list[Row], original_count: int, chance: random.Random) -> None:
        """Insert some rows again, under a new row id; not to the number of rows that the original has."""
        if not written or table.row_id in table.referring:
            return
        count = len(written)
        wanted = len(written) + max(_MIN_DOUBLED, round(self.doubled_share * original_count))
        for _ in range(wanted + (wanted == original_count) - len(written)):
            row = list(chance.choice(written))
            if table.row_id is not None:
                row[table.row_id] = None
            count += self._insert(table, row)

    def _renumbered(self) -> dict[Column, dict[int, int]]:
        """For each column with keys that are numbers, and for those that refer to it: old number -> new number."""
        group = {(name, i): (name, i) for name, table in self.tables.items() for i in range(len(table.columns))}
        for name, table in self.tables.items():
            for reference in table.references:
                for column, parent in zip(reference.columns, reference.parent_columns, strict=True):
                    joined, other = group[name, column], group[reference.parent, parent]
                    group = {member: other if of == joined else of for member, of in group.items()}
        numbers: dict[Column, dict[int, int]] = {}
        for root in sorted(set(group.values())):
            members = [member for member, of in group.items() if of == root]
            keys = [(name, i) for name, i in members if self.tables[name].key == (i,) or i in self.tables[name].unique]
            old = sorted({value for key in keys for value in self._integers(*key)})
            new = random.Random(f"{self.seed}:{root}").sample(old, len(old))
            mapping = dict(zip(old, new, strict=True))
            numbers |= dict.fromkeys(members, mapping)
        return numbers

    def _integers(self, name: str, column: int) -> list[int]:
        quoted = _quoted(self.tables[name].columns[column])
        rows = self.database.execute(f"SELECT {quoted} FROM {_quoted(name)} WHERE typeof({quoted}) = 'integer'")
        return [value for (value,) in rows]


def _describe(database: sqlite3.Connection) -> dict[str, _Table]:
    names = database.execute("SELECT name FROM pragma_table_list WHERE schema='main' AND type='table' ORDER BY name")
    tables = {name: _table(database, name) for (name,) in names.fetchall() if not name.startswith("sqlite_")}
    for table in tables.values():
        table.references = _references(database, table, tables)
    return tables


def _table(database: sqlite3.Connection, name: str) -> _Table:
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
    return _Table(
        name=name,
        columns=tuple(index_of),
        key=key,
        unique=frozenset(alone - bound),
        bound=bound,
        optional=frozenset(index for index, column in enumerate(info) if not column[2]),
        row_id=key[0] if len(key) == 1 and info[key[0]][1].upper() == "INTEGER" else None,
    )


def _references(database: sqlite3.Connection, table: _Table, tables: dict[str, _Table]) -> list[_Reference]:
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
            references.append(_Reference(columns, parent.name, targets))
    return references


def _indices(table: _Table, names: Sequence[str]) -> tuple[int, ...]:
    """Of those among ``names`` that can be written; SQLite's names have no case."""
    index_of = {name.lower(): index for index, name in enumerate(table.columns)}
    return tuple(index_of[name.lower()] for name in names if name.lower() in index_of)


def _parents_first(tables: dict[str, _Table]) -> list[str]:
    """Names of the tables; in a circle of references, the first by name begins."""
    order: list[str] = []
    waiting = list(tables)
    while waiting:
        ready = [n for n in waiting if all(r.parent in (n, *order) for r in tables[n].references)]
        order.append((ready or waiting)[0])
        waiting.remove(order[-1])
    return order


def _changed(originals: list[Row], table: _Table, chance: random.Random, boundary_share: float) -> list[Row]:
    """Rows with other values in all columns that are in no key."""
    rows = [list(row) for row in originals]
    own = {column for r in table.references if r.parent == table.name for column in r.columns}
    movable = frozenset(range(len(table.columns))) - table.bound - own  # a hierarchy keeps its form
    together = [r.columns for r in table.references if len(r.columns) > 1 and movable.issuperset(r.columns)]
    alone = movable.difference(*together)
    for block in [*dict.fromkeys(together), *((column,) for column in sorted(alone))]:
        values = [_values(row, block) for row in rows]
        chance.shuffle(values)
        for row, new in zip(rows, values, strict=True):
            for column, value in zip(block, new, strict=True):
                row[column] = value
    nullable = (movable | own) & table.optional - table.unique
    free = movable - table.referring - table.unique
    for row in rows:
        for index in sorted(movable | own):
            draw = chance.random()
            if index in nullable and draw < _NULL_SHARE:
                row[index] = None
            elif index in free and draw > 1 - boundary_share:
                row[index] = _boundary(row[index], chance)
    return rows


def _mixed(changed: Row, original: Row, taken: frozenset[int]) -> Row:
    return [new if index in taken else old for index, (new, old) in enumerate(zip(changed, original, strict=True))]


def _boundary(value: Any, chance: random.Random) -> Any:
    """A value at the edge of what a filter may expect, of the same type."""
    if isinstance(value, int):
        return chance.choice([0, 1, -1, value + 1, value - 1]) if abs(value) < 1 << 62 else 0
    if isinstance(value, float):
        return chance.choice([0.0, -value, value + 0.01, value - 0.01])
    if isinstance(value, str):
        return chance.choice(["", value.swapcase(), f"{value} "])
    return value


def _values(row: Row, columns: Sequence[int]) -> Values:
    return tuple(row[column] for column in columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
