"""Documents that a retrieval step has already chosen for each problem."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlsd_pl.errors import SetupError


class Documents:
    """Texts by id, joined to problems through a column that names ids.

    Args:
        path: JSONL with the columns ``id`` and ``text``.
        column: the table's column with one id or a list of ids, the best first.
    """

    def __init__(self, path: Path, column: str) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        if missing := [n for n, row in enumerate(rows) if not {"id", "text"} <= row.keys()]:
            raise SetupError(f"Row {missing[0]} of {path} lacks 'id' or 'text'; expected both in every row.")
        self.texts = {str(row["id"]): str(row["text"]) for row in rows}
        self.column = column

    def attached(self, row: Mapping[str, Any]) -> str | None:
        """The row's documents as one text; ``None`` if it names none that exists."""
        if self.column not in row:
            raise SetupError(f"The table has no column {self.column!r}; it has {', '.join(row)}. Set --retrieved.")
        named = row[self.column] or []
        ids = named if isinstance(named, list) else [named]
        found = [self.texts[str(i)] for i in ids if str(i) in self.texts]
        return "\n\n".join(found) or None
