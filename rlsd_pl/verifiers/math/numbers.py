"""Exact rational numbers as people write them, with their unit. No floats: 0.1 is 1/10."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rlsd_pl.verifiers.math.text import split_top, squeeze, strip_group
from rlsd_pl.verifiers.math.units import split_unit

MAX_DIGITS = 1000
MAX_EXPONENT = 9999
_MAX_BITS = 100_000
_MAX_DEPTH = 4

_LITERAL = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d*)(?:\.(\d*)(?:\\(?:overline|bar)\{(\d+)\})?)?")
_SCIENTIFIC = re.compile(r"(.+?)(?:[eE]([+-]?\d+)|(?:\\times|\\cdot|\*)(10\^.+))")
_POWER = re.compile(r"(\d+|\(-?\d+\))\^(?:(\d)|\{([+-]?\d+)\})")
_MIXED = re.compile(r"(\d+)(?: (\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_FRACTION = re.compile(r"\\frac(\{.*\})(\{.*\})")


class TooLarge(ValueError):  # noqa: N818
    """The number is written well but costs too much to hold."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit, ``""`` where none is written."""

    value: Fraction
    unit: str = ""


def parse_quantity(text: str, reference: str | None = None) -> Quantity | None:
    """Read ``text`` (canonical) as a number with an optional unit; ``None`` if it is anything else.

    Args:
        text: one canonical line.
        reference: see :func:`~rlsd_pl.verifiers.math.units.split_unit`.

    Raises:
        TooLarge: more than ``MAX_DIGITS`` digits or an exponent above ``MAX_EXPONENT``.
    """
    number, unit = split_unit(squeeze(text), reference)
    value = parse_rational(number)
    return None if value is None else Quantity(value, unit)


def parse_rational(text: str, depth: int = 0) -> Fraction | None:
    """The exact value of a number that is written without idle spaces, or ``None``. Raises as above."""
    text = strip_group(text)
    if depth > _MAX_DEPTH or not text:
        return None
    if text[0] in "+-":
        value = None if text[1:2] in ("+", "-") else parse_rational(text[1:], depth + 1)
        return -value if value is not None and text[0] == "-" else value
    if not text[0].isdigit() and text[0] not in ".(\\":
        return None
    for read in (_literal, _mixed, _power, _scientific):
        if (value := read(text)) is not None:
            return value
    return _fraction(text, depth)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise TooLarge(f"{len(digits)} digits")
    return int(digits or 0)


def _literal(text: str) -> Fraction | None:
    match = _LITERAL.fullmatch(text)
    if not match or not re.search(r"\d", text):
        return None
    whole, part, period = re.sub("[, ]", "", match[1]), match[2] or "", match[3]
    value = Fraction(_integer(whole + part), 10 ** len(part))
    if period:
        value += Fraction(_integer(period), (10 ** len(period) - 1) * 10 ** len(part))
    return value


def _mixed(text: str) -> Fraction | None:
    match = _MIXED.fullmatch(text)
    if not match:
        return None
    numerator, denominator = _integer(match[2] or match[4]), _integer(match[3] or match[5])
    return _integer(match[1]) + Fraction(numerator, denominator) if numerator < denominator else None


def _power(text: str) -> Fraction | None:
    match = _POWER.fullmatch(text)
    if not match:
        return None
    sign = -1 if "-" in match[1] else 1
    return _raised(Fraction(sign * _integer(match[1].strip("()-"))), match[2] or match[3])


def _raised(base: Fraction, digits: str) -> Fraction | None:
    exponent = int(digits) if len(digits) < MAX_DIGITS else MAX_EXPONENT + 1
    if base == 0 and exponent <= 0:
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) > MAX_EXPONENT or bits * abs(exponent) > _MAX_BITS:
        raise TooLarge("exponent")
    return base**exponent


def _scientific(text: str) -> Fraction | None:
    """``1.2e4`` and ``a \\times 10^{b}``, the one product that is a literal."""
    match = _SCIENTIFIC.fullmatch(text)
    coefficient = _literal(match[1]) if match else None
    if match is None or coefficient is None:
        return None
    scale = _raised(Fraction(10), match[2]) if match[2] else _power(match[3])
    return None if scale is None else coefficient * scale


def _fraction(text: str, depth: int) -> Fraction | None:
    match = _FRACTION.fullmatch(text)
    parts = [match[1], match[2]] if match else split_top(text, "/")
    if len(parts) != 2:
        return None
    numerator, denominator = (parse_rational(part, depth + 1) for part in parts)
    return numerator / denominator if numerator is not None and denominator else None
