"""Exact rational numbers as people write them, with their unit. No floats: 0.1 is 1/10."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rlsd_pl.verifiers.math.text import split_top, strip_group

MAX_DIGITS = 1000
MAX_EXPONENT = 9999
_MAX_BITS = 100_000
_MAX_DEPTH = 4

_PLAIN = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_COMMA_GROUPED = re.compile(r"(\d{1,3}(?:,\d{3})+)(\.\d*)?")
_SPACE_GROUPED = re.compile(r"(\d{1,3}(?: \d{3})+)(\.\d*)?")
_E_NOTATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d+)")
_REPEATING = re.compile(r"(\d*)\.(\d*) ?\\(?:overline|bar) ?\{(\d+)\}")
_POWER = re.compile(r"(\d+|\(-?\d+\)) ?\^ ?(?:(\d)|\{ ?([+-]?\d+) ?\})")
_MIXED = re.compile(r"(\d+) ?(?: (\d+) ?/ ?(\d+)|\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\})")
_FRAC = re.compile(r"\\frac ?\{")
_TIMES = re.compile(r" ?(?:\\times|\\cdot|\*) ?(?=10 ?\^)")

_UNIT_TEXT = re.compile(r"(?:\\text ?\{ ?([^{}]*?) ?\}|(?<=[\d}) ])([A-Za-z]{2,}(?: [A-Za-z]+)*))(?:\^ ?\{?(\d)\}?)?$")
_DEGREES = re.compile(r"\^ ?\{? ?\\circ ?\}?(?: ?[CF])?$")
_BASE = re.compile(r"(?<=\d)_ ?\{? ?(\d{1,2}) ?\}?$")
_UNIT_WORDS = {
    "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm", "kilometer": "km",
    "kilometre": "km", "meter": "m", "metre": "m", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft",
    "yard": "yd", "mile": "mi", "gram": "g", "kilogram": "kg", "second": "s", "sec": "s", "minute": "min",
    "hour": "h", "hr": "h", "liter": "l", "litre": "l", "dollar": "$", "usd": "$", "percent": "%", "degree": "deg",
    "cents": "cent", "square": "sq", "cubic": "cu", "per": "/",
}  # fmt: skip
_NOT_UNITS = {
    "or", "and", "not", "minus", "plus", "times", "over", "squared", "cubed", "root", "factorial", "negative", "point",
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "quarter", "third", "sqrt", "sinh",
    "cosh", "tanh", "theta", "alpha", "beta", "gamma", "delta", "lambda", "sigma", "omega", "frac", "mod", "base",
}  # fmt: skip
"""Words after a number that change its value."""


class TooLarge(ValueError):  # noqa: N818
    """The number is written well but costs too much to hold."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit, ``""`` where none is written."""

    value: Fraction
    unit: str = ""


def parse_quantity(text: str, unit_hint: str = "") -> Quantity | None:
    """Read ``text`` (canonical) as a number with an optional unit; ``None`` if it is anything else.

    Args:
        text: one canonical line.
        unit_hint: the unit that is expected: one bare letter counts as a unit only where it is this one (``5 m``).

    Raises:
        TooLarge: more than ``MAX_DIGITS`` digits or an exponent above ``MAX_EXPONENT``.
    """
    number, unit = split_unit(text, unit_hint)
    value = parse_rational(number)
    return None if value is None else Quantity(value, unit)


def split_unit(text: str, unit_hint: str = "") -> tuple[str, str]:
    """``(number, unit)`` of a canonical line; the unit is ``""`` where there is none."""
    text = text.strip()
    if text.endswith("%"):
        return text[:-1].strip(), "%"
    sign = "-" if text.startswith("-") else ""
    bare = text.removeprefix("-").strip()
    if bare.startswith("$"):
        return sign + bare[1:].strip(), "$"
    for pattern, unit in ((_DEGREES, "deg"), (_BASE, "base")):
        if match := pattern.search(text):
            base = f"base{match[1]}" if unit == "base" else unit
            return text[: match.start()].strip(), base
    match = _UNIT_TEXT.search(text)
    if match and match.start() > 0 and _names_unit(match[1], match[2]):
        return text[: match.start()].strip(), canonical_unit(match[1] or match[2], match[3] or "")
    if len(unit_hint) == 1 and re.search(rf"\d ?{re.escape(unit_hint)}$", text):
        return text[: -len(unit_hint)].strip(), unit_hint
    return text, ""


def _names_unit(marked: str | None, bare: str | None) -> bool:
    """Words in ``\\text{}`` are a unit; bare words are one if they cannot be a product of variables (``5 xy``)."""
    words = (marked or bare or "").lower().split()
    if not words or len(words) > 4 or _NOT_UNITS.intersection(words):
        return False
    return marked is not None or all(len(word) > 3 or _is_known_unit(word) for word in words)


def _is_known_unit(word: str) -> bool:
    return word in _UNIT_WORDS or word in _UNIT_WORDS.values() or word == "of"


def canonical_unit(words: str, power: str = "") -> str:
    """One spelling of a unit: ``square inches`` and ``inches^2`` are both ``in^2``."""
    names = [_canonical_word(word) for word in re.findall(r"[A-Za-z$%/]+", words)]
    if inner := re.search(r"(\d)$", words.strip()):
        power = inner[1]
    for prefix, exponent in (("sq", "2"), ("cu", "3")):
        if prefix in names:
            names.remove(prefix)
            power = exponent
    return " ".join(names) + (f"^{power}" if power else "")


def _canonical_word(word: str) -> str:
    word = word.lower()
    singular = word.removesuffix("s") if len(word) > 2 else word
    return _UNIT_WORDS.get(word, _UNIT_WORDS.get(singular, singular))


def parse_rational(text: str, depth: int = 0) -> Fraction | None:
    """The exact value of a written number, or ``None``. See :func:`parse_quantity` for what it raises."""
    text = strip_group(text.strip())
    if depth > _MAX_DEPTH or not text:
        return None
    if text[0] in "+-":
        value = None if text[1:2] in ("+", "-") else parse_rational(text[1:], depth + 1)
        return -value if value is not None and text[0] == "-" else value
    if not text[0].isdigit() and text[0] not in ".(\\":
        return None
    for read in (_read_literal, _read_mixed, _read_power):
        if (value := read(text)) is not None:
            return value
    value = _read_fraction(text, depth)
    return _read_scientific(text) if value is None else value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise TooLarge(f"{len(digits)} digits")
    return int(digits)


def _decimal(text: str) -> Fraction:
    whole, _, part = text.partition(".")
    return Fraction(_integer(whole + part or "0"), 10 ** len(part))


def _power(base: Fraction, exponent: int) -> Fraction | None:
    if base == 0 and exponent <= 0:
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) > MAX_EXPONENT or bits * abs(exponent) > _MAX_BITS:
        raise TooLarge(f"exponent {exponent}")
    return base**exponent


def _exponent(digits: str) -> int:
    if len(digits.lstrip("+-").lstrip("0")) > len(str(MAX_EXPONENT)):
        raise TooLarge("exponent")
    return int(digits)


def _read_literal(text: str) -> Fraction | None:
    if _PLAIN.fullmatch(text):
        return _decimal(text)
    if match := _COMMA_GROUPED.fullmatch(text) or _SPACE_GROUPED.fullmatch(text):
        return _decimal(re.sub("[, ]", "", match[1]) + (match[2] or ""))
    if match := _E_NOTATION.fullmatch(text):
        scale = _power(Fraction(10), _exponent(match[2]))
        return None if scale is None else _decimal(match[1]) * scale
    if match := _REPEATING.fullmatch(text):
        whole, fixed, period = match.groups()
        value = Fraction(_integer(period), (10 ** len(period) - 1) * 10 ** len(fixed))
        return value + _decimal(f"{whole or 0}.{fixed}")
    return None


def _read_mixed(text: str) -> Fraction | None:
    match = _MIXED.fullmatch(text)
    if not match:
        return None
    whole = _integer(match[1])
    numerator, denominator = _integer(match[2] or match[4]), _integer(match[3] or match[5])
    return whole + Fraction(numerator, denominator) if numerator < denominator else None


def _read_power(text: str) -> Fraction | None:
    match = _POWER.fullmatch(text)
    if not match:
        return None
    sign = -1 if "-" in match[1] else 1
    return _power(Fraction(sign * _integer(match[1].strip("()-"))), _exponent(match[2] or match[3]))


def _read_fraction(text: str, depth: int) -> Fraction | None:
    parts = _frac_parts(text) if _FRAC.match(text) else split_top(text, "/")
    if parts is None or len(parts) != 2:
        return None
    numerator, denominator = (parse_rational(part, depth + 1) for part in parts)
    return numerator / denominator if numerator is not None and denominator else None


def _frac_parts(text: str) -> list[str] | None:
    """The two groups of a line that is one ``\\frac{..}{..}``."""
    match = re.fullmatch(r"\\frac ?(\{.*\}) ?(\{.*\})", text)
    if not match:
        return None
    groups, start, depth = [], -1, 0
    for position, char in enumerate(text):
        if char == "{":
            start = position if depth == 0 else start
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                groups.append(text[start + 1 : position])
        elif depth == 0 and groups and char != " ":
            return None
    return groups


def _read_scientific(text: str) -> Fraction | None:
    """``a \\times 10^{b}``, the one product that is a literal."""
    match = _TIMES.search(text)
    if not match:
        return None
    coefficient, scale = _read_literal(text[: match.start()]), _read_power(text[match.end() :])
    return None if coefficient is None or scale is None else coefficient * scale
