"""SQL text as tokens of SQLite's lexical grammar, enough to see statement kind, statement count and outer clauses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+|--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z))
    | (?P<string>'(?:[^']|'')*(?:'|\Z))
    | (?P<quoted>"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*|\.\d[\w.]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: ``string``, ``quoted`` (an identifier in quotes), ``word``, ``number`` or ``mark``.
        text: as written.
        start: offset in the query; ``end`` is one past the token.
        end: see ``start``.
        depth: open parentheses around it.
    """

    kind: str
    text: str
    start: int
    end: int
    depth: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords (given in capitals), outside quotes."""
        return self.kind == "word" and self.text.upper() in words

    @property
    def name(self) -> str:
        """The text without its quotes, in lower case."""
        if self.kind not in ("quoted", "string"):
            return self.text.lower()
        quote = self.text[0]
        return self.text[1:-1].replace(quote * 2, quote).lower()


def tokenize(query: str) -> list[Token]:
    """All tokens but blanks and comments; linear in the length of ``query``."""
    return list(_tokens(query))


def _tokens(query: str) -> Iterator[Token]:
    depth = 0
    for match in _TOKEN.finditer(query):
        kind = match.lastgroup or "mark"
        if kind == "blank":
            continue
        if match[0] == ")":
            depth -= 1
        yield Token(kind, match[0], match.start(), match.end(), depth)
        if match[0] == "(":
            depth += 1
