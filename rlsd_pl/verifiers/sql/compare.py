"""Equality of result sets: bags of typed rows, or a sequence of bags where the reference has an order."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

Row = Sequence[Any]
Rows = Sequence[Row]
Keys = tuple[tuple[str, Any], ...]
"""A row with its values replaced by what equality compares."""
Group = tuple[int, int]
"""Half-open range of row positions whose sort keys are equal."""

RELATIVE, ABSOLUTE = 1e-9, 1e-12
_MAX_PERMUTATIONS = 5040


class Columns(StrEnum):
    """Whether the order of the columns counts."""

    IN_ORDER = "in_order"
    ANY_ORDER = "any_order"


def same_result(predicted: Rows, reference: Rows, groups: Sequence[Group] | None, columns: Columns) -> bool:
    """Whether two results hold the same rows as often; within each of ``groups``, if they are given.

    Values are equal by type: NULL with NULL, text with equal text, blobs by bytes, INTEGER with INTEGER exactly, and
    REAL with any number within a relative 1e-9 (absolute 1e-12 around zero). ``ANY_ORDER`` tries permutations of whole
    columns, the same one for every row.
    """
    if len(predicted) != len(reference):
        return False
    if not reference:
        return True
    if {len(row) for row in predicted} != {len(row) for row in reference}:
        return False
    left, right = _comparable(predicted, reference)
    ranges = groups if groups is not None else [(0, len(right))]
    if columns is Columns.IN_ORDER:
        return _same_groups(left, right, ranges)
    return any(
        _same_groups([tuple(row[i] for i in order) for row in left], right, ranges)
        for order in _column_orders(left, right)
    )


def shared_rows(predicted: Rows, reference: Rows) -> float:
    """F1 of the rows as bags, columns in order: 2 * (rows of both) / (rows of one + rows of the other); 0 for none."""
    left, right = _comparable(predicted, reference)
    both = (Counter(left) & Counter(right)).total()
    return 2 * both / (len(left) + len(right)) if both else 0.0


def equal_values(left: Row, right: Row) -> bool:
    """Whether two sort keys are equal."""
    return same_result([left], [right], None, Columns.IN_ORDER)


def _comparable(left: Rows, right: Rows) -> tuple[list[Keys], list[Keys]]:
    number_class = _classes_of_numbers(itertools.chain.from_iterable([*left, *right]))
    first, second = ([tuple(_key(value, number_class) for value in row) for row in rows] for rows in (left, right))
    return first, second


def _same_groups(left: Sequence[Keys], right: Sequence[Keys], ranges: Sequence[Group]) -> bool:
    return all(Counter(left[start:end]) == Counter(right[start:end]) for start, end in ranges)


def _column_orders(left: Sequence[Keys], right: Sequence[Keys]) -> Iterable[tuple[int, ...]]:
    """Permutations that map each column to one with the same bag of values."""
    bags = [Counter(column) for column in zip(*left, strict=True)]
    fits = [{i for i, bag in enumerate(bags) if bag == Counter(column)} for column in zip(*right, strict=True)]
    return itertools.islice(_assignments(fits, ()), _MAX_PERMUTATIONS)


def _assignments(fits: list[set[int]], chosen: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    if len(chosen) == len(fits):
        yield chosen
        return
    for candidate in sorted(fits[len(chosen)] - set(chosen)):
        yield from _assignments(fits, (*chosen, candidate))


def _key(value: Any, number_class: dict[tuple[float, bool], int]) -> tuple[str, Any]:
    if isinstance(value, int | float):
        return "number", number_class[value, isinstance(value, float)]
    return type(value).__name__, value


def _classes_of_numbers(values: Iterable[Any]) -> dict[tuple[float, bool], int]:
    """Number (with whether it is REAL) -> class, so that equal up to rounding means the same class.

    Neighbours in sorted order are joined. Rounding to digits instead would part close numbers at a boundary.
    """
    numbers = sorted({(value, isinstance(value, float)) for value in values if isinstance(value, int | float)})
    classes: dict[tuple[float, bool], int] = {}
    current = 0
    for previous, number in itertools.pairwise([None, *numbers]):
        assert number is not None
        if previous is not None and not _close(previous, number):
            current += 1
        classes[number] = current
    return classes


def _close(left: tuple[float, bool], right: tuple[float, bool]) -> bool:
    (a, a_real), (b, b_real) = left, right
    if a == b:
        return True
    if math.isinf(a) or math.isinf(b):
        return False
    return (a_real or b_real) and abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), ABSOLUTE)
