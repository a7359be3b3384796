"""What a reference query returns, and which of its rows are tied in its order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rlsd_pl.types import Status, Verdict
from rlsd_pl.verifiers.code.verdicts import killed, stopped, undisturbed
from rlsd_pl.verifiers.sandbox import Finished, Job, Run
from rlsd_pl.verifiers.sandbox.inside import wire
from rlsd_pl.verifiers.sql.compare import Columns, Group, Rows, equal_values, same_result
from rlsd_pl.verifiers.sql.order import SortKey, sort_keys, with_keys, without_limit
from rlsd_pl.verifiers.verdicts import broken, verdict


class RowOrder(StrEnum):
    """Whether the order of the rows counts."""

    REFERENCE = "reference"
    """As the outer ORDER BY of the reference says; rows with equal keys may change places."""
    NONE = "none"
    """Never."""


@dataclass(frozen=True)
class QueryLimits:
    """What one query may use, below the limits of its process.

    Attributes:
        seconds: time for each database.
        max_rows: rows of a result.
        max_bytes: bytes of a result, as JSON.
    """

    seconds: float = 2.0
    max_rows: int = 10_000
    max_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """A result set: column names, and rows of None, int, float, str and bytes."""

    columns: Sequence[str]
    rows: Rows


@dataclass(frozen=True, slots=True)
class Expected:
    """The result of a reference on one database; ``groups`` are its tied rows, ``None`` if the order does not count."""

    rows: Rows
    groups: Sequence[Group] | None

    @property
    def ordered(self) -> bool:
        """Whether there is an order that a prediction can get wrong."""
        return self.groups is not None and len(self.groups) > 1

    def accepts(self, table: Table, columns: Columns) -> bool:
        """Whether ``table`` is this result."""
        return same_result(table.rows, self.rows, self.groups, columns)

    def same_rows(self, other: Expected) -> bool:
        """Whether a query that is blind to the data could give both results."""
        return same_result(other.rows, self.rows, None, Columns.IN_ORDER)


@dataclass(frozen=True, slots=True)
class Query:
    """One query on one of a job's files; ``backwards`` scans tables the other way where no ORDER BY fixes it."""

    text: str
    file: int = 0
    backwards: bool = False


def run_queries(queries: Sequence[Query], files: Sequence[Path], limits: QueryLimits) -> Job[list[Table | Verdict]]:
    """The result of each query; from the first that fails on, the verdict of that failure."""
    job = {
        "queries": [(query.file, query.text, query.backwards) for query in queries],
        "seconds": limits.seconds,
        "max_rows": limits.max_rows,
        "max_bytes": limits.max_bytes,
    }
    run = Run("query", json.dumps(job).encode() + b"\n", files=files, one_line=True)
    finished = yield from undisturbed(run, limits.seconds)
    failure = _failure(finished)
    if failure is not None:
        return [failure] * len(queries)
    tables = [_table(result) for result in json.loads(finished.output)["results"]]
    return [*tables, *[tables[-1]] * (len(queries) - len(tables))]


def expect(query: str, database: Path, order: RowOrder, limits: QueryLimits) -> Job[Expected | str]:
    """Run a reference: its result on ``database``, or the reason why it cannot be used there."""
    plain, backwards = yield from run_queries([Query(query), Query(query, backwards=True)], [database], limits)
    if isinstance(plain, Verdict):
        return f"the reference query does not run: {plain.detail}"
    if isinstance(backwards, Verdict):
        return f"the reference query does not run backwards: {backwards.detail}"
    if not same_result(backwards.rows, plain.rows, None, Columns.IN_ORDER):
        return "the reference is not deterministic: its rows depend on the order in which tables are read"
    keys = sort_keys(query)
    if not keys:
        return Expected(plain.rows, None)
    values = yield from _key_values(query, keys, plain, database, limits)
    if values is None:
        unread = "the sort key of the reference cannot be read; sort by an output column, or set order=none"
        return unread if order is RowOrder.REFERENCE else Expected(plain.rows, None)
    if (yield from _limit_cuts_a_tie(query, keys, values, database, limits)):
        return "the reference is not deterministic: its LIMIT parts rows whose sort keys are equal"
    return Expected(plain.rows, _groups(values) if order is RowOrder.REFERENCE else None)


def _failure(finished: Finished) -> Verdict | None:
    early = stopped(finished)
    if early is not None:
        return early
    if not finished.output.endswith(b"\n"):
        return killed(finished.signal) or broken("sandbox_failed", "the query process gave no result")
    return None


def _table(result: dict[str, Any]) -> Table | Verdict:
    if "status" in result:
        return verdict(Status(result["status"]), result["reason"], result["text"])
    return Table(result["columns"], wire.decode(result["rows"]))


def _key_values(
    query: str, keys: Sequence[SortKey], table: Table, database: Path, limits: QueryLimits
) -> Job[Rows | None]:
    """The sort keys of each row, ``None`` where SQL gives no way to see them."""
    outputs = [key.output_column(table.columns) for key in keys]
    hidden = [key.expression for key, output in zip(keys, outputs, strict=True) if output is None]
    rows = table.rows
    if hidden:
        extended = with_keys(query, hidden)
        shown = (yield from run_queries([Query(extended)], [database], limits))[0] if extended else None
        width = len(table.columns)
        if not isinstance(shown, Table) or [row[:width] for row in shown.rows] != list(rows):
            return None
        rows = shown.rows
    extra = iter(range(len(table.columns), len(table.columns) + len(hidden)))
    positions = [output if output is not None else next(extra) for output in outputs]
    return [
        [_fold(row[position], key.ignores_case) for position, key in zip(positions, keys, strict=True)] for row in rows
    ]


def _limit_cuts_a_tie(
    query: str, keys: Sequence[SortKey], values: Rows, database: Path, limits: QueryLimits
) -> Job[bool]:
    """Whether an outer LIMIT keeps some and drops others of different rows that have the same sort key."""
    whole = without_limit(query)
    if whole is None or not values:
        return False
    table = (yield from run_queries([Query(whole)], [database], limits))[0]
    # a whole result that is too large to look at gives no ground for a refusal
    everything = (yield from _key_values(whole, keys, table, database, limits)) if isinstance(table, Table) else None
    if not isinstance(table, Table) or everything is None:
        return False
    for edge in (values[0], values[-1]):
        kept = sum(equal_values(edge, value) for value in values)
        tied = [row for row, value in zip(table.rows, everything, strict=True) if equal_values(edge, value)]
        if len(tied) > kept and not all(equal_values(row, tied[0]) for row in tied):
            return True
    return False


def _groups(values: Rows) -> list[Group]:
    groups: list[Group] = []
    for position, row in enumerate(values):
        if groups and equal_values(row, values[groups[-1][0]]):
            groups[-1] = (groups[-1][0], position + 1)
        else:
            groups.append((position, position + 1))
    return groups


def _fold(value: Any, ignores_case: bool) -> Any:
    return value.lower() if ignores_case and isinstance(value, str) else value
