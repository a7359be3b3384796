"""Schema patterns mean ECMA-262 (with its ``u`` flag); Python's ``re`` reads some of its signs differently."""

from __future__ import annotations

import re
import warnings

_TOKENS = re.compile(
    r"""
      \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}  # one code point as two surrogates
    | \\(?:c[A-Za-z]|k<\w+>|u\{[0-9a-fA-F]{1,6}\}|.)
    | \[\^?(?:\\.|[^\]\\])*+\]
    | \(\?(?:<(?![=!])|[^:=!<]|\Z)
    | (?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\+
    | \{(?=,[0-9]*\})
    | [$.]
    """,
    re.VERBOSE | re.DOTALL,
)
_CLASS_TOKENS = re.compile(r"\\(?:c[A-Za-z]|u\{[0-9a-fA-F]{1,6}\}|.)|[\[&~|]", re.DOTALL)
_SPACE = "\\t-\\r \\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_NOT_SPACE = (
    "\\x00-\\x08\\x0e-\\x1f!-\\x9f\\xa1-\\u167f\\u1681-\\u1fff\\u200b-\\u2027\\u202a-\\u202e\\u2030-\\u205e"
    "\\u2060-\\u2fff\\u3001-\\ufefe\\uff00-\\U0010ffff"
)
_SAME_IN_BOTH = frozenset("dDwWbBfnrtvxu0123456789")


class PatternError(ValueError):
    """Not a pattern of ECMA-262."""


class UnsupportedPatternError(PatternError):
    """A pattern that cannot be said in Python's ``re``; whether it is one of ECMA-262 was not found out."""


def python_pattern(pattern: str) -> str:
    """``pattern`` with its ECMA-262 meaning, for ``re.search``.

    ``\\d``, ``\\w`` and ``\\b`` are ASCII, ``\\s`` is all of Unicode's white space, ``.`` leaves out all four line
    ends, and ``$`` is the very end of the string.

    Raises:
        PatternError: what ECMA-262 does not know, such as ``(?P<n>``, ``a++`` and ``\\Z``.
        UnsupportedPatternError: what ``re`` does not know, such as ``\\p{L}``, or cannot hold.
    """
    translated = "(?a:" + _TOKENS.sub(lambda match: _token(match[0], pattern), pattern) + ")"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what a later Python may read as set arithmetic
            re.compile(translated)
    except re.error as error:
        kind = UnsupportedPatternError if "look-behind" in str(error) else PatternError
        raise kind(f"pattern {pattern[:80]!r}: {error}; rewrite it for Python's re") from None
    except (OverflowError, RecursionError, MemoryError) as error:
        raise UnsupportedPatternError(f"pattern {pattern[:80]!r} is too large: {error}") from None
    return translated


def _token(token: str, pattern: str) -> str:
    if token == "$":
        return r"\Z"
    if token == ".":
        return r"[^\n\r\u2028\u2029]"
    if token == "{":
        return r"\{"
    if token == "(?<":
        return "(?P<"
    if token[0] == "[":
        return _character_class(token, pattern)
    if token[0] == "\\":
        return _escape(token, pattern)
    raise PatternError(f"pattern {pattern[:80]!r}: {token!r} is not in ECMA-262")


def _character_class(token: str, pattern: str) -> str:
    if token in ("[]", "[^]"):
        return "(?!)" if token == "[]" else "(?s:.)"
    start = 2 if token[1] == "^" else 1
    inner = _CLASS_TOKENS.sub(lambda match: _escape(match[0], pattern, in_class=True), token[start:-1])
    return f"{token[:start]}{inner}]"


def _escape(token: str, pattern: str, in_class: bool = False) -> str:
    """One escape, or (in a class) a sign that ``re`` may take for set arithmetic."""
    if token[0] != "\\":
        return f"\\{token}"
    letter = token[1]
    if letter in "sS":
        inner = _SPACE if letter == "s" else _NOT_SPACE
        return inner if in_class else f"[{inner}]"
    if letter == "c" and len(token) == 3:
        return f"\\x{ord(token[2]) % 32:02x}"
    if letter == "k" and len(token) > 2:
        return f"(?P={token[3:-1]})"
    if token.startswith("\\u{"):
        return f"\\U{int(token[3:-1], 16):08x}"
    if len(token) == 12:
        high, low = int(token[2:6], 16), int(token[8:], 16)
        return f"\\U{0x10000 + ((high - 0xD800) << 10) + low - 0xDC00:08x}"
    if letter in "pP":
        raise UnsupportedPatternError(
            f"pattern {pattern[:80]!r}: Python's re has no Unicode properties; list the ranges"
        )
    if letter.isalnum() and letter.isascii() and letter not in _SAME_IN_BOTH:
        raise PatternError(f"pattern {pattern[:80]!r}: {token!r} is not in ECMA-262")
    return token
