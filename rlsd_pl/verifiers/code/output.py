"""Comparison of printed output with the expected output."""

from __future__ import annotations

import math


def same_output(printed: str, expected: str, float_tolerance: float | None = None) -> bool:
    """Equal line by line, after trailing blanks of lines and trailing empty lines are dropped.

    With ``float_tolerance``, lines are compared token by token, and two tokens that are finite numbers may differ by
    that much relative to the expected one. Without it ``1.0`` is not ``1``: a task that means numbers says so.
    """
    left, right = _lines(printed), _lines(expected)
    if float_tolerance is None or left == right:
        return left == right
    return len(left) == len(right) and all(
        _same_tokens(a.split(), b.split(), float_tolerance) for a, b in zip(left, right, strict=True)
    )


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _same_tokens(printed: list[str], expected: list[str], tolerance: float) -> bool:
    return len(printed) == len(expected) and all(
        a == b or _close(a, b, tolerance) for a, b in zip(printed, expected, strict=True)
    )


def _close(printed: str, expected: str, tolerance: float) -> bool:
    try:
        value, target = float(printed), float(expected)
    except ValueError:
        return False
    return math.isfinite(value) and abs(value - target) <= tolerance * abs(target)
