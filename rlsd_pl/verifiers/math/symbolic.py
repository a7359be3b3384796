"""The handler of the math workers: math-verify reads two expressions, and values at high precision decide.

Runs only in worker processes, on text that :mod:`rlsd_pl.verifiers.math.screen` let through.
"""

from __future__ import annotations

import math
import random
import re
from functools import lru_cache
from typing import Any

import mpmath
import sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy.functions.elementary.hyperbolic import HyperbolicFunction

from rlsd_pl.verifiers.math.leaves import Policy, Undecided, Units, equal_leaves
from rlsd_pl.verifiers.math.numbers import TooLarge
from rlsd_pl.verifiers.math.trees import parse_tree, same

_DIGITS, _MOST_DIGITS, _SPARE_DIGITS = 60, 1000, 10
_MAX_SYMBOLS = 8


class Unproven(Exception):  # noqa: N818
    """The values agree as far as they were computed, which is not far enough for numbers of this size."""


def judge(request: dict[str, Any]) -> dict[str, str]:
    """``{"answer", "reference", "units", "relative_tolerance"}`` (canonical text) to ``{"status", "code"}``.

    Whatever is raised, the answer caused it: its reference was compared with itself when the data was loaded.
    """
    policy = Policy(Units(request["units"]), request["relative_tolerance"])

    def equal(answer: str, reference: str) -> bool:
        try:
            return equal_leaves(answer, reference, policy)
        except Undecided as undecided:
            left, right = undecided.args
            return equal_expressions(left, right, policy.relative_tolerance)

    try:
        agree = same(parse_tree(request["answer"]), parse_tree(request["reference"]), equal)
    except MemoryError:
        raise
    except Unproven:
        return {"status": "limit", "code": "precision_exceeded"}
    except TooLarge:
        return {"status": "limit", "code": "number_too_large"}
    except Exception as error:
        return {"status": "fail", "code": f"not_comparable: {type(error).__name__}"}
    return {"status": "pass", "code": "symbolic"} if agree else {"status": "fail", "code": "unequal"}


def equal_expressions(answer: str, reference: str, tolerance: float) -> bool:
    """True if two LaTeX expressions denote one value, function, equation or set."""
    left, right = (read(_distinct(text, answer + reference)) for text in (answer, reference))
    if left is None or right is None:
        return False
    draw = random.Random(f"{answer}\n{reference}")
    if isinstance(left, sympy.Equality) and isinstance(right, sympy.Equality):
        return _equal_equations(left, right, draw)
    if isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr):
        return _equal_values(left, right, tolerance, draw)
    if isinstance(left, sympy.MatrixBase) and isinstance(right, sympy.MatrixBase):
        entries = zip(left.flat(), right.flat(), strict=False)
        return left.shape == right.shape and all(_equal_values(a, b, tolerance, draw) for a, b in entries)
    if any(isinstance(side, sympy.Expr | sympy.MatrixBase) for side in (left, right)):
        return False
    # Relations and sets that the trees do not cover. No timeout here: the parent holds the clock.
    return bool(verify([right], [left], strict=True, timeout_seconds=None))  # pyright: ignore[reportArgumentType]


def _distinct(text: str, both: str) -> str:
    """math-verify reads R as r, I as the imaginary unit, E as e: capitals that would collide get names of their own."""
    letters = set(re.sub(r"\\[A-Za-z]+", "", both))
    collide = {letter for letter in letters if letter.isupper() and (letter in "IE" or letter.lower() in letters)}
    return re.sub(r"\\[A-Za-z]+|[A-Z]", lambda m: f" u_{{{m[0]}}} " if m[0] in collide else m[0], text)


@lru_cache(maxsize=512)
def read(text: str) -> Any:
    """What math-verify reads in ``text``, or ``None``. Raises nothing: the text is a model's."""
    try:
        config = [LatexExtractionConfig(boxed_match_priority=-1)]
        found = parse(f"${text}$", config, "no_fallback", parsing_timeout=0)
        return _exact(found[0]) if found and not isinstance(found[0], str) else None
    except MemoryError:
        raise
    except Exception:
        return None


def _exact(expression: Any) -> Any:
    """Decimals as the rational numbers that were written, ``i`` as the imaginary unit, matrices multiplied out."""
    if isinstance(expression, sympy.MatrixExpr):
        expression = expression.as_explicit()
    floats = expression.atoms(sympy.Float) if isinstance(expression, sympy.Basic) else ()
    expression = expression.xreplace({number: sympy.Rational(str(number)) for number in floats})
    # Only where it is free: the index of a sum keeps its name.
    return expression.subs({name: sympy.I for name in expression.free_symbols if name.name == "i"})


def _equal_equations(left: Any, right: Any, draw: random.Random) -> bool:
    """One is the other times a constant. ``1 = 5`` and ``x = x + 1`` hold no variable once subtracted: never equal."""
    a, b = (side.lhs - side.rhs for side in (left, right))
    if not a.free_symbols or not b.free_symbols:
        return False
    first, *points = _points(a.free_symbols | b.free_symbols, draw) or [{}]
    here, there = a.subs(first), b.subs(first)
    if _same_value(here, sympy.Integer(0)) or _same_value(there, sympy.Integer(0)):
        return False
    pairs = ((a.subs(point) * there, b.subs(point) * here) for point in points)
    return bool(points) and all(_same_value(*pair) is True for pair in pairs)


def _equal_values(left: sympy.Expr, right: sympy.Expr, tolerance: float, draw: random.Random) -> bool:
    """Same value at random points, real and complex; points where neither side is defined do not count."""
    symbols = left.free_symbols | right.free_symbols
    verdicts = [_same_value(left.subs(point), right.subs(point), tolerance) for point in _points(symbols, draw)]
    decided = [verdict for verdict in verdicts if verdict is not None]
    return all(decided) and len(decided) >= (2 if symbols else 1)


def _points(symbols: set[Any], draw: random.Random) -> list[dict[Any, Any]]:
    """Positive, negative and complex values for the symbols; one empty point if there are none."""
    names = sorted({symbol.name for symbol in symbols})
    if not names:
        return [{}]
    if len(names) > _MAX_SYMBOLS:
        return []
    factors = (1, 1, -1, -1, sympy.I, sympy.I - 1)
    values = [{n: factor * sympy.Rational(draw.randint(100, 3000), 1009) for n in names} for factor in factors]
    return [{symbol: value[symbol.name] for symbol in symbols} for value in values]


def _same_value(left: Any, right: Any, tolerance: float = 0.0) -> bool | None:
    """Whether two constants are equal; ``None`` where neither is defined.

    They are computed to 60 digits, and if they agree and hold very large or very small parts, to as many more as it
    takes for those parts to show.

    Raises:
        Unproven: that is over 1,000 digits.
    """
    values = _evaluate(left, _DIGITS), _evaluate(right, _DIGITS)
    if values[0] is None and values[1] is None:
        return None
    if values[0] is None or values[1] is None:
        return False
    if left == right or (tolerance and _agree(*values, _DIGITS, tolerance)):
        return True
    if not _agree(*values, _DIGITS):
        return False
    digits = _DIGITS / 2 + 3 * max(_spread(left), _spread(right))
    if digits > _MOST_DIGITS:
        raise Unproven
    more = math.ceil(digits)
    return more <= _DIGITS or _agree(_evaluate(left, more), _evaluate(right, more), more)


def _evaluate(expression: Any, digits: int) -> Any:
    """The number with ``digits`` digits as an mpmath value; ``None`` where there is none."""
    try:
        number = sympy.sympify(expression).evalf(digits + _SPARE_DIGITS, maxn=2 * digits + 100)
        if number.free_symbols or number.has(sympy.nan, sympy.zoo, sympy.oo):
            return None
        with mpmath.workdps(digits + _SPARE_DIGITS):
            return mpmath.mpmathify(number)
    except MemoryError:
        raise
    except Exception:
        return None


def _agree(left: Any, right: Any, digits: int, tolerance: float = 0.0) -> bool:
    with mpmath.workdps(digits + _SPARE_DIGITS):
        exact = mpmath.mpf(10) ** (_SPARE_DIGITS - digits) * max(1, abs(left), abs(right))
        return bool(abs(left - right) <= (tolerance * abs(right) if tolerance else exact))


def _spread(expression: sympy.Expr) -> float:
    """The largest number of decimal places, before or after the point, of any part of a constant expression."""
    return max(_places(part) for part in sympy.preorder_traversal(expression))


def _places(part: sympy.Basic) -> float:
    if isinstance(part, sympy.Rational):
        return math.log10(max(abs(part.p), part.q))
    if isinstance(part, HyperbolicFunction):  # tanh(200) is 1 but for 173 places
        part = sympy.exp(sympy.Abs(part.args[0]))
    if not isinstance(part, sympy.Expr) or part.is_Atom:
        return 0.0
    value = _evaluate(part, 15)
    return abs(float(mpmath.log10(abs(value)))) if value else math.inf


read(r"\frac{\sin(1)}{\sqrt{2}}")  # the parser builds its tables at first use: at start-up, not on a sample's time
