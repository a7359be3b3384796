"""Schema patterns mean ECMA-262; Python's ``re`` reads a few of its signs differently."""

from __future__ import annotations

import re

_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)


class UnsupportedPatternError(ValueError):
    """The pattern cannot be said in Python's ``re``."""


def python_pattern(pattern: str) -> str:
    """``pattern`` with its ECMA-262 meaning: ``\\d`` and ``\\w`` are ASCII, and ``$`` is the very end of the string.

    Raises:
        UnsupportedPatternError: syntax that ``re`` does not know, such as Unicode property classes.
    """
    translated = "(?a:" + _TOKENS.sub(lambda match: r"\Z" if match[0] == "$" else match[0], pattern) + ")"
    try:
        re.compile(translated)
    except (re.error, OverflowError, RecursionError) as error:
        raise UnsupportedPatternError(f"pattern {pattern!r}: {error}; rewrite it for Python's re") from None
    return translated
