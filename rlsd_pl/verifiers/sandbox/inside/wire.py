"""Tagged JSON for plain Python values: what may cross between a solution and its grader.

Exactly the types None, bool, int, float, str, list, tuple, set, frozenset, dict, bytes and complex cross, by
``type(value) is``; a list subclass with an ``__eq__`` of its own does not. Containers other than list are JSON objects
with one key, the tag. Integers beyond 64 bits travel as hexadecimal text, which has no quadratic conversion.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64
MAX_INT_BITS = 1 << 20
MAX_ITEMS = 200_000
_INLINE_INT = 1 << 63
_PLAIN_DICTS = (dict, Counter, OrderedDict, defaultdict)
_ATOMS = (type(None), bool, float, str)


class WireError(ValueError):
    """A value or a line that the codec refuses; the message is a reason, never the value."""


class WireSizeError(WireError):
    """A value that may cross, but is too large."""


def dumps(value: Any, max_bytes: int) -> bytes:
    """One ASCII line without newline; raises :class:`WireError` for a foreign type, depth or size."""
    try:
        line = json.dumps(_encode(value, 0, [MAX_ITEMS])).encode("ascii")
    except RecursionError:
        raise WireError("nested too deeply") from None
    if len(line) > max_bytes:
        raise WireSizeError(f"larger than {max_bytes} bytes")
    return line


def loads(line: bytes) -> Any:
    """The value of one line; raises :class:`WireError` for anything that :func:`dumps` does not write."""
    try:
        return decode(json.loads(line))
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"malformed line ({type(error).__name__})") from None


def decode(data: Any) -> Any:
    """The value of parsed JSON; raises :class:`WireError` as :func:`loads` does."""
    try:
        return _decode(data, 0)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError, ArithmeticError) as error:
        raise WireError(f"malformed value ({type(error).__name__})") from None


def _encode(value: Any, depth: int, budget: list[int]) -> Any:
    kind = type(value)
    budget[0] -= 1
    if depth > MAX_DEPTH:
        raise WireError("nested too deeply")
    if budget[0] < 0:
        raise WireSizeError(f"more than {MAX_ITEMS} items")
    if kind in _ATOMS:
        return value
    if kind is int:
        return _encode_int(value)
    if kind is list:
        return [_encode(item, depth + 1, budget) for item in value]
    if kind in _PLAIN_DICTS:
        return {"dict": [[_encode(k, depth + 1, budget), _encode(v, depth + 1, budget)] for k, v in value.items()]}
    if kind in (tuple, set, frozenset):
        return {kind.__name__: [_encode(item, depth + 1, budget) for item in value]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    raise WireError("a type that may not cross")


def _encode_int(value: int) -> Any:
    if -_INLINE_INT <= value < _INLINE_INT:
        return value
    if value.bit_length() > MAX_INT_BITS:
        raise WireSizeError(f"an integer of more than {MAX_INT_BITS} bits")
    return {"int": hex(value)}


def _decode(data: Any, depth: int) -> Any:
    if depth > 2 * MAX_DEPTH:
        raise WireError("nested too deeply")
    if isinstance(data, list):
        return [_decode(item, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise WireError("malformed line (tag)")
    tag, body = next(iter(data.items()))
    if tag == "dict":
        return {_decode(key, depth + 1): _decode(value, depth + 1) for key, value in body}
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](_decode(list(body), depth + 1))
    return _SCALARS[tag](body)


_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "complex": lambda parts: complex(*parts),
}
