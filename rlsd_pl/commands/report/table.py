"""A table for people, with the rows of its CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """Cells of one objective, or of one of its runs."""

    cells: Sequence[str]
    objective: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Table:
    """A table for people, and the same at full precision.

    Attributes:
        name: of its CSV, without the ending.
        records: of the CSV; NaN is left blank.
    """

    name: str
    title: str
    heads: Sequence[str]
    rows: Sequence[Row]
    note: str = ""
    records: Sequence[Record] = field(default_factory=list)
