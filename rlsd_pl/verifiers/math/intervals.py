"""Unions of intervals with rational ends: pieces that overlap or touch are one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from rlsd_pl.verifiers.math.numbers import parse_rational

_INFINITE = {r"\infty": math.inf, r"+\infty": math.inf, r"-\infty": -math.inf}


class Interval(NamedTuple):
    """Brackets such as ``[)`` and the two ends, as written."""

    brackets: str
    low: str
    high: str


def joined(pieces: Sequence[Interval]) -> list[Interval] | None:
    """The same set in as few pieces as it takes, from left to right; ``None`` if it takes more than rationals.

    An empty piece, whose ends are the wrong way round, is not read either.
    """
    ends = [(_value(piece.low), _value(piece.high)) for piece in pieces]
    ordered = []
    for piece, (low, high) in zip(pieces, ends, strict=True):
        if low is None or high is None or low >= high:
            return None
        ordered.append((low, piece.brackets[0] == "(", high, piece))
    ordered.sort(key=lambda item: item[:2])
    found: list[tuple[Fraction | float, Interval]] = []
    for low, left_open, high, piece in ordered:
        if found:
            reach, last = found[-1]
            if low < reach or (low == reach and not (left_open and last.brackets[1] == ")")):
                further = high > reach or (high == reach and piece.brackets[1] == "]")
                if further:
                    found[-1] = (high, Interval(last.brackets[0] + piece.brackets[1], last.low, piece.high))
                continue
        found.append((high, piece))
    return [piece for _, piece in found]


def _value(text: str) -> Fraction | float | None:
    return _INFINITE.get(text.replace(" ", "")) if "infty" in text else parse_rational(text.strip())
