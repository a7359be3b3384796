"""Values of a table as text: what the file says, digit by digit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, time
from numbers import Number
from typing import Any

from rlsd_pl.errors import SetupError


class WrittenFloat(float):
    """A number that knows how it was written: ``1.50`` is 1.5 to arithmetic and ``1.50`` as text."""

    text: str

    def __new__(cls, text: str) -> WrittenFloat:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type[WrittenFloat], tuple[str]]:
        return WrittenFloat, (self.text,)


def text_of(value: Any) -> str:
    """The value as text: strings as they are, ``None`` as the empty text, dates by ISO 8601, all else as in JSON.

    Raises:
        SetupError: for bytes, which are no text.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, date | time):
        return value.isoformat()
    return json_text(value) if isinstance(value, Mapping | list | tuple | bool | bytes) else str(value)


def json_text(value: Any) -> str:
    """JSON with every number as it was written; ``json.dumps`` would round ``1.50`` to ``1.5``.

    Raises:
        SetupError: for bytes.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json_text(str(key))}: {json_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(json_text, value)) + "]"
    if isinstance(value, str | bool | None):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, date | time):
        return f'"{value.isoformat()}"'
    if isinstance(value, bytes):
        raise SetupError("A column holds bytes where text is wanted. Store it as text, or name another column.")
    if isinstance(value, float) and not isinstance(value, WrittenFloat) and not math.isfinite(value):
        return json.dumps(value)  # NaN, Infinity
    return str(value) if isinstance(value, Number) else json.dumps(str(value), ensure_ascii=False)


def read_json(text: str) -> Any:
    """JSON with exact numbers: integers of any length, other numbers as :class:`WrittenFloat`.

    Raises:
        ValueError: if it is not JSON, or an object names a key twice.
    """
    return json.loads(text, parse_float=WrittenFloat, parse_constant=WrittenFloat, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object names {next(n for n in names if names.count(n) > 1)!r} twice")
    return read
