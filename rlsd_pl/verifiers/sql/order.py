"""The outer ORDER BY of a reference query, and the query that shows its sort keys.

In SQLite every ORDER BY outside all parentheses belongs to the outermost query: those of subqueries, common table
expressions, windows and aggregates stand within parentheses. So tokens decide; no parser is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlsd_pl.verifiers.sql.tokens import Token, tokenize


@dataclass(frozen=True, slots=True)
class SortKey:
    """One term of an ORDER BY, without its direction.

    Attributes:
        expression: the SQL text.
        tokens: its tokens.
        ignores_case: whether it has ``COLLATE NOCASE``.
    """

    expression: str
    tokens: tuple[Token, ...]
    ignores_case: bool

    def output_column(self, columns: Sequence[str]) -> int | None:
        """Index of the output column that it names by position or by name, ``None`` for another expression."""
        if len(self.tokens) != 1:
            return None
        token = self.tokens[0]
        if token.kind == "number" and token.text.isdigit():
            return int(token.text) - 1
        names = [name.lower() for name in columns]
        return names.index(token.name) if token.kind in ("word", "quoted") and token.name in names else None


def sort_keys(query: str) -> tuple[SortKey, ...]:
    """The terms of the outer ORDER BY, in order; empty without one."""
    outer = [token for token in tokenize(query) if token.depth == 0 or token.text in "()"]
    start = _order_by(outer)
    if start is None:
        return ()
    after = outer[start].end
    tokens = [token for token in tokenize(query) if token.start >= after]
    terms: list[list[Token]] = [[]]
    for token in tokens:
        if token.depth == 0 and (token.is_word("LIMIT") or token.text == ";"):
            break
        if token.depth == 0 and token.text == ",":
            terms.append([])
        else:
            terms[-1].append(token)
    return tuple(_sort_key(query, term) for term in terms if term)


def with_keys(query: str, expressions: Sequence[str]) -> str | None:
    """``query`` with ``expressions`` as further output columns, ``None`` where there is no place for them."""
    outer = [token for token in tokenize(query) if token.depth == 0]
    start = _order_by(outer)
    if start is None:
        return None
    before = [i for i, token in enumerate(outer) if token.is_word("FROM") and not outer[i - 1].is_word("DISTINCT")]
    position = outer[before[0]].start if before else outer[start - 1].start
    extra = "".join(f", ({expression})" for expression in expressions)
    return f"{query[:position]}{extra} {query[position:]}"


def without_limit(query: str) -> str | None:
    """``query`` up to its outer LIMIT, ``None`` if it has none."""
    limits = [token.start for token in tokenize(query) if token.depth == 0 and token.is_word("LIMIT")]
    return query[: limits[-1]] if limits else None


def _order_by(outer: Sequence[Token]) -> int | None:
    """Index of the ``BY`` of the outer ORDER BY."""
    for index in range(len(outer) - 1, 0, -1):
        if outer[index].depth == 0 and outer[index].is_word("BY") and outer[index - 1].is_word("ORDER"):
            return index
    return None


def _sort_key(query: str, term: list[Token]) -> SortKey:
    term = list(term)
    if len(term) > 2 and term[-2].is_word("NULLS"):
        del term[-2:]
    if len(term) > 1 and term[-1].is_word("ASC", "DESC"):
        term.pop()
    ignores_case = False
    if len(term) > 2 and term[-2].is_word("COLLATE"):
        ignores_case = term[-1].name == "nocase"
        del term[-2:]
    return SortKey(query[term[0].start : term[-1].end], tuple(term), ignores_case)
