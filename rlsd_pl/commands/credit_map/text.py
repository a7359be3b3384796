"""Tokens and texts of a model as a person reads them."""

from __future__ import annotations


def clean(token: str, line_end: str = "\n") -> str:
    """A token as text: byte-level tokenizers write a space as U+0120 and a line's end as U+010A, others U+2581."""
    return token.replace("\u0120", " ").replace("\u010a", line_end).replace("\u2581", " ")


def printable(text: str) -> str:
    """The text without control characters, which could steer the terminal: ``\\x1b`` is written out."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
