"""Expressions of a problem's text: read without ``eval``, and worked out one operation at a time."""

from __future__ import annotations

import ast
import re
from fractions import Fraction

MAX_CHARACTERS = 200
MAX_EXPONENT = 12
MAX_VALUE = 10**24
"""Of numerators and denominators: nobody writes out larger ones."""

_SIGNS = str.maketrans({"−": "-", "×": "*", "·": "*", "÷": "/", "^": "**", "{": "(", "}": ")", "$": " "})
_COMMANDS = {r"\times": "*", r"\cdot": "*", r"\div": "/", r"\left": "", r"\right": ""}
_ALLOWED = re.compile(r"[0-9a-z+\-*/(). ]*")
_PRODUCT = re.compile(r"(?<=[0-9)])\s*(?=[a-z(])")
"""Where a sign of multiplication is left out. ``f(2)`` may be a call and ``x2`` a name: neither is read."""
_UNREAD = re.compile(r"[a-z]\s*[a-z0-9]|[0-9]{16}|\.[0-9]{12}|[ei]")
"""Names of several signs, numbers that a float would round, and letters that may be constants."""


class NotRead(ValueError):  # noqa: N818
    """The text is no expression of the kind that is worked out here."""


def read(text: str) -> ast.expr:
    """The syntax tree of numbers, one-letter names, ``+ - * / ^`` and parentheses; ``2x`` is 2 times x.

    Raises:
        NotRead: for anything else.
    """
    for command, sign in _COMMANDS.items():
        text = text.replace(command, sign)
    text = text.translate(_SIGNS).strip()
    if not text or len(text) > MAX_CHARACTERS or not _ALLOWED.fullmatch(text) or _UNREAD.search(text):
        raise NotRead(text)
    try:
        return ast.parse(_PRODUCT.sub("*", text), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotRead(text) from None


def value_of(constant: ast.Constant, source: str = "") -> Fraction:
    """The exact value of a written number."""
    if isinstance(constant.value, bool | str | bytes | complex) or constant.value is None:
        raise NotRead(source)
    return Fraction(str(constant.value))


def exponent_of(node: ast.expr) -> int:
    """A written whole exponent up to :data:`MAX_EXPONENT`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and 0 <= node.value <= MAX_EXPONENT:
        return node.value
    raise NotRead("exponent")


def evaluate(node: ast.expr, steps: list[str]) -> Fraction:
    """The value of ``node``; one line is added to ``steps`` for each operation.

    Raises:
        NotRead: a name, an operation that is not worked out here, a division by zero, a number that is too large.
    """
    match node:
        case ast.Constant():
            return _bounded(value_of(node))
        case ast.UnaryOp(ast.USub(), operand):
            return -evaluate(operand, steps)
        case ast.BinOp(left, ast.Pow(), right):
            base, exponent = evaluate(left, steps), exponent_of(right)
            return _step(steps, f"{_shown(base)}^{exponent}", base**exponent)
        case ast.BinOp(left, ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as operator, right):
            return _operation(evaluate(left, steps), operator, evaluate(right, steps), steps)
        case _:
            raise NotRead(ast.unparse(node))


def _operation(a: Fraction, operator: ast.operator, b: Fraction, steps: list[str]) -> Fraction:
    match operator:
        case ast.Add():
            return _step(steps, f"{_shown(a)} + {_shown(b)}", a + b)
        case ast.Sub():
            return _step(steps, f"{_shown(a)} - {_shown(b)}", a - b)
        case ast.Mult():
            return _step(steps, f"{_shown(a)} * {_shown(b)}", a * b)
    if b == 0:
        raise NotRead("division by zero")
    return _step(steps, f"{_shown(a)} / {_shown(b)}", a / b)


def _step(steps: list[str], operation: str, value: Fraction) -> Fraction:
    if operation.replace(" ", "") != str(_bounded(value)):  # 7 / 3 is as it stands
        steps.append(f"{operation} = {value}")
    return value


def _bounded(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator) > MAX_VALUE:
        raise NotRead("too large")
    return value


def _shown(value: Fraction) -> str:
    return str(value) if value >= 0 and value.denominator == 1 else f"({value})"
