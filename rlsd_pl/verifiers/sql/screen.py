"""What is wrong with a query before it runs: kind and number of statements, and the clock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rlsd_pl.types import Verdict
from rlsd_pl.verifiers.sql.tokens import Token, tokenize
from rlsd_pl.verifiers.verdicts import failed, invalid

MAX_QUERY_CHARACTERS = 20_000
_KINDS = ("SELECT", "WITH", "VALUES")
_DATE_FUNCTIONS = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1}
"""Function -> the number of arguments at which it reads the clock."""


def refuse_query(query: str) -> Verdict | None:
    """The verdict of a query that is not worth running, ``None`` for one SELECT, WITH or VALUES."""
    if len(query) > MAX_QUERY_CHARACTERS:
        return invalid("query_size", f"{len(query)} characters, at most {MAX_QUERY_CHARACTERS}")
    if "\0" in query or any("\ud800" <= character <= "\udfff" for character in query):
        return invalid("not_text", "the query holds null characters or lone surrogates")
    tokens = tokenize(only_statement(query))
    if not tokens:
        return invalid("answer_empty", "no statement")
    if not tokens[0].is_word(*_KINDS):
        return failed("statement_kind", f"starts with {tokens[0].text[:20]!r}, expected SELECT, WITH or VALUES")
    if any(token.text == ";" for token in tokens):
        return failed("statement_count", "more than one statement")
    if _reads_clock(tokens):
        return failed("not_deterministic", "the query reads the clock")
    return None


def only_statement(query: str) -> str:
    """``query`` without the semicolons, empty statements and comments after its last word."""
    tokens = [token for token in tokenize(query) if token.text != ";"]
    return query[: tokens[-1].end] if tokens else ""


def order_is_chance(query: str) -> bool:
    """Whether it reads tables and no ORDER BY stands anywhere in it: SQL promises no order then."""
    words = [token for token in tokenize(query) if token.kind == "word"]
    ordered = any(a.is_word("ORDER") and b.is_word("BY") for a, b in itertools.pairwise(words))
    return not ordered and any(word.is_word("FROM") for word in words)


def _reads_clock(tokens: Sequence[Token]) -> bool:
    for position, token in enumerate(tokens[:-1]):
        if token.name in _DATE_FUNCTIONS and tokens[position + 1].text == "(":
            arguments = _inside(tokens, position + 1)
            commas = sum(t.text == "," and t.depth == token.depth + 1 for t in arguments)
            count = commas + 1 if arguments else 0
            if count <= _DATE_FUNCTIONS[token.name] or any(_is_now(t) for t in arguments):
                return True
    return False


def _is_now(token: Token) -> bool:
    return token.kind in ("string", "quoted") and token.name.strip() == "now"


def _inside(tokens: Sequence[Token], opening: int) -> Sequence[Token]:
    """The tokens between the parenthesis at ``opening`` and its partner."""
    depth = tokens[opening].depth
    for position in range(opening + 1, len(tokens)):
        if tokens[position].depth <= depth:
            return tokens[opening + 1 : position]
    return tokens[opening + 1 :]
