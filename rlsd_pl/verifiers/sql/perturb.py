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
from pathlib import Path
from typing import Any

from rlsd_pl.verifiers.sql.tables import ForeignKey, TableSchema, describe, parents_first, quoted

_NULL_SHARE, _BOUNDARY_SHARE = 0.05, 0.08
_LOST_AND_DOUBLED = ((0.3, 0.15), (0.1, 0.5))
"""Share of a table's rows that are left out, and that come twice: copies are smaller and larger in turn."""
_MIN_DOUBLED, _MIN_ROWS_TO_LOSE = 2, 3
Row = list[Any]
Values = tuple[Any, ...]
Column = tuple[str, int]
"""A table's name and a column's index in it."""
Target = tuple[str, tuple[int, ...]]
"""A table's name and the columns that a foreign key refers to."""


def perturb(source: Path, target: Path, seed: int = 0, number: int = 0) -> None:
    """Write copy ``number`` of the SQLite file ``source`` to ``target``; the same one for the same seed.

    In every table some rows are missing and some come twice. Keys are dealt out anew among the numbers that were keys,
    so they have gaps, and references follow them. Other values change rows (in every second copy with other
    frequencies, so that the most frequent is another one), some become NULL where that is allowed, some become
    boundary values: three times as many in each further copy. Rows are written in a random order. A row that breaks a
    constraint stays as it was, or is left out.
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
            copy.execute(f"DROP TRIGGER {quoted(trigger)}")
        copy.execute("BEGIN")
        _Copy(copy, f"{seed + number}:{digest}", number).write()
        copy.execute("COMMIT")


class _Copy:
    """The work on one copy, table by table, parents first."""

    def __init__(self, database: sqlite3.Connection, seed: str, number: int) -> None:
        self.database, self.seed = database, seed
        self.boundary_share = min(1.0, 3**number * _BOUNDARY_SHARE)
        self.lost_share, self.doubled_share = _LOST_AND_DOUBLED[number % 2]
        self.redrawn = number % 2 == 1
        self.tables = describe(database)
        self.order = parents_first(self.tables)
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

    def _write_table(self, table: TableSchema, chance: random.Random, complete: bool) -> None:
        originals = self._read(table)
        if not originals:
            return
        own = [reference for reference in table.references if reference.parent == table.name]
        kept = originals if complete else self._kept(originals, own, chance)
        changed = _changed(kept, table, chance, self.boundary_share, self.redrawn)
        # second choice: only the unique values change rows, which as a whole no constraint can refuse
        others = [_mixed(row, original, table.unique) for row, original in zip(changed, kept, strict=True)]
        written = [r for v in zip(changed, others, kept, strict=True) for r in self._insert_first(table, v, chance)]
        for target in {(r.parent, r.parent_columns) for t in self.tables.values() for r in t.references}:
            if target[0] == table.name:
                left = {_values(row, target[1]) for row in written}
                self.lost[target] = {_values(row, target[1]) for row in originals} - left
                self.left[target] = sorted(left, key=repr)
        self._double(table, written, len(originals), chance)

    def _read(self, table: TableSchema) -> list[Row]:
        names = ", ".join(map(quoted, table.columns))
        rows = [list(row) for row in self.database.execute(f"SELECT {names} FROM {quoted(table.name)}")]
        self.database.execute(f"DELETE FROM {quoted(table.name)}")
        return rows

    def _kept(self, rows: list[Row], own: Sequence[ForeignKey], chance: random.Random) -> list[Row]:
        """Rows without the lost ones, in a random order. A row that others of its table refer to is not lost."""
        pointed = {(r.parent_columns, _values(row, r.columns)) for r in own for row in rows}
        parents = {r.parent_columns for r in own}
        free = [i for i, row in enumerate(rows) if not any((c, _values(row, c)) in pointed for c in parents)]
        count = max(1, round(self.lost_share * len(rows))) if len(rows) >= _MIN_ROWS_TO_LOSE else 0
        lost = set(chance.sample(free, min(count, len(free))))
        kept = [row for i, row in enumerate(rows) if i not in lost]
        chance.shuffle(kept)
        return kept

    def _insert_first(self, table: TableSchema, versions: Iterable[Row], chance: random.Random) -> list[Row]:
        """The first of a row's versions that the constraints allow, as a list of one; of none if they allow none."""
        for version in versions:
            row = self._pointed(table, version, chance)
            if row is not None and self._insert(table, row):
                return [row]
        return []

    def _pointed(self, table: TableSchema, row: Row, chance: random.Random) -> Row | None:
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

    def _insert(self, table: TableSchema, row: Sequence[Any]) -> bool:
        names, marks = ", ".join(map(quoted, table.columns)), ", ".join("?" * len(table.columns))
        numbered = [self.numbers.get((table.name, i), {}).get(value, value) for i, value in enumerate(row)]
        with suppress(sqlite3.IntegrityError):
            self.database.execute(f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({marks})", numbered)
            return True
        return False

    def _double(self, table: TableSchema, written: list[Row], original_count: int, chance: random.Random) -> None:
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
        key = quoted(self.tables[name].columns[column])
        rows = self.database.execute(f"SELECT {key} FROM {quoted(name)} WHERE typeof({key}) = 'integer'")
        return [value for (value,) in rows]


def _changed(
    originals: list[Row], table: TableSchema, chance: random.Random, boundary_share: float, redrawn: bool
) -> list[Row]:
    """Rows with other values in all columns that are in no key: dealt out anew, or redrawn with other frequencies."""
    rows = [list(row) for row in originals]
    own = {column for r in table.references if r.parent == table.name for column in r.columns}
    movable = frozenset(range(len(table.columns))) - table.bound - own  # a hierarchy keeps its form
    together = [r.columns for r in table.references if len(r.columns) > 1 and movable.issuperset(r.columns)]
    alone = movable.difference(*together)
    for block in [*dict.fromkeys(together), *((column,) for column in sorted(alone))]:
        values = [_values(row, block) for row in rows]
        if redrawn and table.unique.isdisjoint(block):
            distinct = list(dict.fromkeys(values))
            values = chance.choices(distinct, [chance.random() for _ in distinct], k=len(rows))
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
