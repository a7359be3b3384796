"""The credit map as one HTML file that needs nothing else: tokens tinted by their credit, with what it is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd_pl.commands.credit_map.text import clean, printable
from rlsd_pl.commands.pages import write_page

NOTHING = "None of these completions has token credit: the objective has no such term, or every advantage is 0."


@dataclass(frozen=True)
class Token:
    """One token of the map.

    Attributes:
        shown: text, a line's end as a mark and a line's end.
        share: of its credit in the largest on the page, in [-1, 1]; NaN where the credit is not a number.
        values: by column, as text; blank where there is none.
    """

    shown: str
    share: float
    values: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Which way the credit moves the token's probability."""
        if math.isnan(self.share):
            return "broken"
        return "up" if self.share > 0 else "down" if self.share < 0 else "none"

    @property
    def depth(self) -> str:
        """Of the tint, for CSS."""
        return "0%" if math.isnan(self.share) else f"{DEEPEST * abs(self.share):.0f}%"

    @property
    def hint(self) -> str:
        """What a pointer that rests on the token reads."""
        return ", ".join(f"{name} {value}" for name, value in self.values.items() if value)


COLUMNS = {
    "credit": ("token_advantages", "+.3f"),
    "A": ("advantage", "+.3f"),
    "\u0394": ("evidence", "+.3f"),
    "w": ("weight", ".3f"),
    "\u03bb": ("strength", ".3f"),
}
"""Heads of the table of tokens: key of a record, and format. A number of the completion stands beside each token."""

DEEPEST = 80
"""Per cent of colour under the largest credit; text stays readable on it."""


def write_credit_page(records: Sequence[Mapping[str, Any]], path: Path, source: str = "") -> Path:
    """Write the page; everything in it is escaped, since completions are the model's.

    Args:
        records: of ``rollouts.jsonl``.
        path: of the HTML file.
        source: where the records are from, in words.

    Returns:
        The path.
    """
    largest = max((abs(x) for record in records for x in _credits(record) if math.isfinite(x)), default=0.0)
    values = {
        "source": source,
        "largest": f"{largest:.3g}",
        "columns": list(COLUMNS),
        "completions": [_completion(record, largest) for record in records],
        "nothing": "" if largest else NOTHING,
    }
    write_page(path, "rlsd_pl.commands.credit_map", values)
    return path


def _credits(record: Mapping[str, Any]) -> Sequence[float]:
    return record.get("token_advantages") or ()


def _completion(record: Mapping[str, Any], largest: float) -> dict[str, Any]:
    answer = "" if record.get("answer") is None else f", answer {record['answer']}"
    expected = "" if record.get("reference_answer") is None else f" (expected {record['reference_answer']})"
    strength = "" if "strength" not in record else f", \u03bb = {record['strength']:.3g}"
    iteration = "" if "iteration" not in record else f"iteration {record['iteration']}, "
    return {
        "head": printable(
            f"{iteration}{record.get('problem', '')}: {record['status']}{answer}{expected}, "
            f"reward {record['reward']:g}, A = {record['advantage']:+.3f}{strength}"
        ),
        "prompt": printable(record["prompt"]),
        "tokens": list(_tokens(record, largest)),
        "text": printable(record.get("completion", "")),
    }


def _tokens(record: Mapping[str, Any], largest: float) -> Iterator[Token]:
    for place, (token, credit) in enumerate(zip(record["tokens"], _credits(record), strict=False)):
        share = credit / largest if largest and math.isfinite(credit) else (0.0 if credit == 0 else math.nan)
        yield Token(
            printable(clean(token, "\u21b5\n")),
            share,
            {name: _number(record.get(key), place, form) for name, (key, form) in COLUMNS.items()},
        )


def _number(value: Any, place: int, form: str) -> str:
    if isinstance(value, Sequence):
        value = value[place] if place < len(value) else None
    return "" if value is None else format(value, form)
