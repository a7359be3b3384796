"""The handler of the math workers: math-verify reads two expressions, and an audit at high precision decides.

Runs only in worker processes, on text that :mod:`rlsd_pl.verifiers.math.screen` let through.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import mpmath
import sympy
from math_verify import LatexExtractionConfig, parse, verify

from rlsd_pl.verifiers.math.leaves import Policy, Undecided, Units, equal_leaves
from rlsd_pl.verifiers.math.trees import parse_tree, same

_DIGITS = (30, 60)
"""Decimal digits of the two evaluations; values that agree only at one of them are not equal."""
_SPARE_DIGITS = 10
_MAX_SYMBOLS = 8


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """``{"answer", "reference", "units", "relative_tolerance"}`` (canonical text) to ``{"equal": bool}``."""
    policy = Policy(Units(request["units"]), request["relative_tolerance"])

    def equal(answer: str, reference: str) -> bool:
        try:
            return equal_leaves(answer, reference, policy)
        except Undecided as undecided:
            left, right = undecided.args
            return equal_expressions(left, right, policy.relative_tolerance)

    return {"equal": same(parse_tree(request["answer"]), parse_tree(request["reference"]), equal)}


def equal_expressions(answer: str, reference: str, tolerance: float) -> bool:
    """True if two LaTeX expressions denote one value, function, equation or set."""
    left, right = read(answer), read(reference)
    if left is None or right is None:
        return False
    if isinstance(left, sympy.Equality) and isinstance(right, sympy.Equality):
        return _equal_equations(left, right, tolerance)
    if isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr):
        return _equal_values(left, right, tolerance)
    if isinstance(left, sympy.MatrixBase) and isinstance(right, sympy.MatrixBase):
        entries = zip(left.flat(), right.flat(), strict=False)
        return left.shape == right.shape and all(_equal_values(a, b, tolerance) for a, b in entries)
    if any(isinstance(side, sympy.Expr | sympy.MatrixBase) for side in (left, right)):
        return False
    # Relations and sets that the trees do not cover. No timeout here: the parent holds the clock.
    return bool(verify([right], [left], strict=True, timeout_seconds=None))  # pyright: ignore[reportArgumentType]


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
    """Decimals as the rational numbers that were written, not the nearest float; matrices multiplied out."""
    if isinstance(expression, sympy.MatrixExpr):
        expression = expression.as_explicit()
    floats = expression.atoms(sympy.Float) if isinstance(expression, sympy.Basic) else ()
    return expression.xreplace({number: sympy.Rational(str(number)) for number in floats}) if floats else expression


def _equal_equations(left: Any, right: Any, tolerance: float) -> bool:
    """One is the other times a constant. ``1 = 5`` and ``x = x + 1`` hold no variable once subtracted: never equal."""
    a, b = (sympy.expand(side.lhs - side.rhs) for side in (left, right))
    if not a.free_symbols or a.free_symbols != b.free_symbols:
        return False
    ratios = [_ratio(a, b, point) for point in _points(b.free_symbols)]
    known = [ratio for ratio in ratios if ratio is not None]
    return len(known) >= 2 and all(_agree(ratio, known[0], tolerance, _DIGITS[0]) for ratio in known)


def _ratio(a: sympy.Expr, b: sympy.Expr, point: dict[Any, Any]) -> Any:
    top, bottom = _evaluate(a, point, _DIGITS[0]), _evaluate(b, point, _DIGITS[0])
    return None if top is None or not bottom or not top else top / bottom


def _equal_values(left: sympy.Expr, right: sympy.Expr, tolerance: float) -> bool:
    """Same value at random points, real and complex, at two precisions; undefined points do not count."""
    symbols = left.free_symbols | right.free_symbols
    decided = 0
    for point in _points(symbols):
        for digits in _DIGITS:
            values = _evaluate(left, point, digits), _evaluate(right, point, digits)
            if values[0] is None and values[1] is None:
                continue
            if values[0] is None or values[1] is None or not _agree(*values, tolerance, digits):
                return False
            decided += 1
    return decided >= (2 * len(_DIGITS) if symbols else len(_DIGITS))


def _points(symbols: set[Any]) -> list[dict[Any, Any]]:
    """Positive, negative and complex values for the symbols; one empty point if there are none."""
    names = sorted(symbols, key=str)
    if not names:
        return [{}]
    if len(names) > _MAX_SYMBOLS:
        return []
    draw = random.Random(0)
    factors = (1, 1, -1, -1, sympy.I, sympy.I - 1)
    return [{name: factor * sympy.Rational(draw.randint(100, 3000), 1009) for name in names} for factor in factors]


def _evaluate(expression: sympy.Expr, point: dict[Any, Any], digits: int) -> Any:
    """The number at ``point`` with ``digits`` digits as an mpmath value; ``None`` where there is none."""
    try:
        number = expression.subs(point).evalf(digits + _SPARE_DIGITS)
        if number.free_symbols or number.has(sympy.nan, sympy.zoo, sympy.oo):
            return None
        with mpmath.workdps(digits + _SPARE_DIGITS):
            return mpmath.mpmathify(number)
    except MemoryError:
        raise
    except Exception:
        return None


def _agree(left: Any, right: Any, tolerance: float, digits: int) -> bool:
    """Relative comparison, so that tiny numbers differ like large ones."""
    with mpmath.workdps(digits + _SPARE_DIGITS):
        scale = max(abs(left), abs(right))
        if scale < mpmath.mpf(10) ** (-5 * digits):
            return True
        allowed = max(mpmath.mpf(tolerance), mpmath.mpf(10) ** (_SPARE_DIGITS // 2 - digits))
        return bool(abs(left - right) <= allowed * scale)


read(r"\frac{\sin(1)}{\sqrt{2}}")  # the parser builds its tables at first use: at start-up, not on a sample's time
