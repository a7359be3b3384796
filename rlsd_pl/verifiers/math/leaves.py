"""Deciding two leaves without sympy: equal spelling, exact rational numbers, words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from rlsd_pl.verifiers.math.numbers import Quantity, parse_quantity
from rlsd_pl.verifiers.math.screen import readable, symbols
from rlsd_pl.verifiers.math.text import squeeze
from rlsd_pl.verifiers.math.units import split_unit


class Units(StrEnum):
    """What a unit counts for. ``COMPARED``: two units must agree, and either side may leave its unit out."""

    COMPARED = "compared"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Policy:
    """What a task calls equal.

    Attributes:
        units: see :class:`Units`.
        relative_tolerance: two numbers are equal if they differ by at most this share of the reference. 0: exactly.
    """

    units: Units = Units.COMPARED
    relative_tolerance: float = 0.0


class Undecided(Exception):  # noqa: N818
    """Rational arithmetic and words do not settle it; sympy may."""


_MARKED_WORDS = re.compile(r"\\text\{([^{}]*)\}")
_BARE_WORDS = re.compile(r"[A-Za-z]{2}[A-Za-z ]*")
_CHOICE = re.compile(r"\(?([A-Z])\)?")
_ARITHMETIC = re.compile(r"(?:[\d\s.+\-*/(){}^]|\\(?:times|cdot|div|frac)(?![A-Za-z]))+")
_SCALES = ({"deg", "C"}, {"deg", "F"})


def equal_leaves(answer: str, reference: str, policy: Policy) -> bool:
    """Compare two leaves.

    Raises:
        Undecided: neither spelling, numbers nor words settle it; holds the two expressions without their units.
        TooLarge: a number has too many digits.
    """
    answer, reference = squeeze(answer).removeprefix("+"), squeeze(reference).removeprefix("+")
    if answer == reference:
        return True
    right, left = parse_quantity(reference), parse_quantity(answer, reference)
    if left and right:
        return equal_quantities(left, right, policy)
    if _words(answer) is not None or _words(reference) is not None:
        return (_words(answer) or answer.lower()) == (_words(reference) or reference.lower())
    (answer, unit), (reference, reference_unit) = split_unit(answer, reference), split_unit(reference)
    if not units_agree(unit, reference_unit, policy.units) or bool(symbols(answer)) != bool(symbols(reference)):
        return False
    if (right is not None and _ARITHMETIC.fullmatch(answer)) or not readable(answer, reference):
        return False  # 6 * 7 restates the question
    raise Undecided(answer, reference)


def equal_quantities(answer: Quantity, reference: Quantity, policy: Policy) -> bool:
    """Exact comparison of values, then of units as the policy says. ``50%``, ``50`` and ``0.5`` are one percentage."""
    if not units_agree(answer.unit, reference.unit, policy.units):
        return False
    values = [(answer.value, reference.value)]
    if "%" in (answer.unit, reference.unit):
        values.append((_of_percent(answer), _of_percent(reference)))
    return any(_close(left, right, policy.relative_tolerance) for left, right in values)


def units_agree(answer: str, reference: str, units: Units = Units.COMPARED) -> bool:
    """Two written units must be one; a degree without a scale leaves the scale out."""
    return (
        units is Units.IGNORED or not answer or not reference or answer == reference or {answer, reference} in _SCALES
    )


def _of_percent(quantity: Quantity) -> Fraction:
    return quantity.value / 100 if quantity.unit == "%" else quantity.value


def _close(answer: Fraction, reference: Fraction, tolerance: float) -> bool:
    return answer == reference or (tolerance > 0 and abs(answer - reference) <= Fraction(tolerance) * abs(reference))


def _words(text: str) -> str | None:
    """Lower-case words of a leaf that is words alone, or the letter of a choice such as ``(B)``."""
    match = _MARKED_WORDS.fullmatch(text)
    inner = " ".join(match[1].split()) if match else text
    if choice := _CHOICE.fullmatch(inner):
        return choice[1]
    if match or (_BARE_WORDS.fullmatch(text) and any(len(word) > 3 for word in text.split())):
        return inner.lower()
    return None
