"""One strict reader for JSON that a model wrote. RFC 8259, and nothing that Python's reader adds to it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_CHARACTERS = 65_536
MAX_DEPTH = 64
# A string that never closes reaches to the end: looked for again at each of its quotes, it would cost quadratic time.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class JSONTextError(ValueError):
    """The text is not one JSON value; ``code`` says why."""

    def __init__(self, code: str, explanation: str = "") -> None:
        super().__init__(f"{code}: {explanation}" if explanation else code)
        self.code = code
        self.explanation = explanation


class JSONLimitError(JSONTextError):
    """The text may be JSON, but is too large or too deep to read."""


def read_json(text: str) -> Any:
    """The one value in ``text``.

    Raises:
        JSONTextError: not JSON, a key twice in one object, NaN or Infinity, a number beyond floats (too large, or too
            small to be told from 0), a lone surrogate.
        JSONLimitError: more than ``MAX_CHARACTERS`` or nested deeper than ``MAX_DEPTH``.
    """
    _check_size(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
        )
    except JSONTextError:
        raise
    except (ValueError, RecursionError) as error:
        raise JSONTextError("not_json", str(error)) from None
    _check_surrogates(text, value)
    return value


def same_json(left: Any, right: Any) -> bool:
    """Equality by JSON types: ``true`` is not 1, ``"1"`` is not 1; 1 and 1.0 are one number; objects have no order."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    return type(left) is type(right) and left == right


def canonical_json(value: Any) -> str:
    """One spelling for equal documents: keys sorted, no blanks, 1.0 as 1 (below 1e16)."""
    return json.dumps(_plain_numbers(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def value_end(text: str, start: int) -> int:
    """Where the object or array that begins at ``start`` ends: one past its last bracket, -1 if it is not closed."""
    depth = 0
    for match in _TOKENS.finditer(text, start):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth == 0:
            return match.end()
    return -1


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e16 else value


def _check_size(text: str) -> None:
    """Before any parsing. Brackets that do not close are no JSON, however many they are."""
    if len(text) > 16 * MAX_CHARACTERS:
        raise JSONLimitError("json_too_long", f"{len(text)} characters, at most {MAX_CHARACTERS}")
    depth = deepest = 0
    for match in _TOKENS.finditer(text):
        token = match[0]
        depth += (token in "[{") - (token in "]}")
        deepest = max(deepest, depth)
    if depth:
        raise JSONTextError("not_json", "brackets do not close")
    if len(text) > MAX_CHARACTERS:
        raise JSONLimitError("json_too_long", f"{len(text)} characters, at most {MAX_CHARACTERS}")
    if deepest > MAX_DEPTH:
        raise JSONLimitError("json_too_deep", f"{deepest} levels, at most {MAX_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JSONTextError("duplicate_key")
    return value


def _refuse_constant(name: str) -> Any:
    raise JSONTextError("not_json", f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number) or (number == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
        raise JSONTextError("number_out_of_range", digits[:40])
    return number


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's own limit, 4,300 digits
        raise JSONTextError("number_out_of_range", f"{len(digits)} digits") from None


def _check_surrogates(text: str, value: Any) -> None:
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JSONTextError("lone_surrogate") from None
