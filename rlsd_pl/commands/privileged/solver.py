"""Worked solutions of equations and arithmetic by sympy, for worker processes. What is not recognized is not solved."""

from __future__ import annotations

import ast
import re
from typing import Any

import sympy

from rlsd_pl.commands.privileged.arithmetic import NotRead, evaluate, exponent_of, read, value_of

_ASKED = re.compile(
    r"(?:solve for (?P<before>[a-z])\s*[:,]|solve(?: the equation)?|find (?P<first>[a-z]) (?:if|when|where)"
    r"|[^:0-9=]*:)?"
    r"\s*(?P<left>[^=]+)=(?P<right>[^=]+?)(?:,? for (?P<after>[a-z]))?\s*[.?]?",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(
    r"(?:[^:0-9]*:|(?:calculate|compute|evaluate|simplify|work out|what is|find)(?: the value of)?)?"
    r"\s*(?P<expression>.+?)\s*(?:=\s*\??)?[.?]?",
    re.IGNORECASE,
)


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """``{"text"}`` to ``{"steps", "answer"}`` (lines and LaTeX), or ``{"steps": None}`` where nothing is solved."""
    text = " ".join(request["text"].split())
    try:
        solved = solve_equation(text) or work_out(text)
    except NotRead:
        solved = None
    return {"steps": None} if solved is None else {"steps": solved[0], "answer": solved[1]}


def work_out(text: str) -> tuple[list[str], str] | None:
    """Steps and value of an arithmetic expression; ``None`` if nothing is to be computed in it."""
    asked = _EXPRESSION.fullmatch(text)
    steps: list[str] = []
    value = evaluate(read(asked["expression"]), steps) if asked else None
    return (steps, sympy.latex(sympy.Rational(value))) if steps else None


def solve_equation(text: str) -> tuple[list[str], str] | None:
    """Steps and solutions of a linear or quadratic equation in one unknown; ``None`` for any other text.

    Without a unique solution of a linear equation, or without real ones of a quadratic, nothing is solved.
    """
    asked = _ASKED.fullmatch(text)
    if asked is None or not asked["right"].strip(" ?."):
        return None
    left, right = (_expression(read(asked[side])) for side in ("left", "right"))
    unknowns = (left - right).free_symbols
    named = asked["first"] or asked["before"] or asked["after"]
    if len(unknowns) != 1 or (named and {named.lower()} != {str(x) for x in unknowns}):
        return None
    x = unknowns.pop()
    if not (left.is_polynomial(x) and right.is_polynomial(x)):
        return None
    degree: Any = sympy.Poly(left - right, x).degree()
    steps = [f"We solve {asked['left'].strip()} = {asked['right'].strip()}."]
    if "(" in text:
        steps.append(_line("Multiply out", sympy.expand(left), sympy.expand(right)))
    sides = sympy.Poly(left, x), sympy.Poly(right, x)
    solve = {1: _linear, 2: _quadratic}.get(degree) if all(side.degree() <= degree for side in sides) else None
    roots = solve(*sides, x, steps) if solve else []
    if not roots or any(sympy.simplify((left - right).subs(x, root)) != 0 for root in roots):
        return None
    return steps, ", ".join(sympy.latex(root) for root in roots)


def _linear(left: Any, right: Any, x: Any, steps: list[str]) -> list[Any]:
    """Move the terms with x to the left, the others to the right, then divide."""
    (a, b), (c, d) = ([side.coeff_monomial(x), side.coeff_monomial(1)] for side in (left, right))
    if c != 0:
        steps.append(_line(_move(c * x), (a - c) * x + b, d))
    if b != 0:
        steps.append(_line(_move(b), (a - c) * x, d - b))
    if a - c != 1:
        steps.append(_line(f"Divide both sides by ${sympy.latex(a - c)}$", x, (d - b) / (a - c)))
    return [(d - b) / (a - c)]


def _quadratic(left: Any, right: Any, x: Any, steps: list[str]) -> list[Any]:
    """Standard form, discriminant, roots."""
    standard = left - right
    a, b, c = (standard.coeff_monomial(x**n) for n in (2, 1, 0))
    if right.as_expr() != 0:
        steps.append(_line("Bring all terms to one side", standard.as_expr(), sympy.Integer(0)))
    discriminant = b**2 - 4 * a * c
    a_, b_, c_, d_ = (sympy.latex(value) for value in (a, b, c, discriminant))
    steps.append(f"The discriminant is $({b_})^2 - 4 ({a_}) ({c_}) = {d_}$.")
    if discriminant < 0:
        return []
    roots = sorted({(-b + sign * sympy.sqrt(discriminant)) / (2 * a) for sign in (-1, 1)}, key=float)
    shown = r" \text{ or } ".join(f"{x} = {sympy.latex(root)}" for root in roots)
    steps.append(rf"So ${x} = \frac{{-({b_}) \pm \sqrt{{{d_}}}}}{{2 \cdot ({a_})}}$, which gives ${shown}$.")
    return roots


def _move(term: Any) -> str:
    negative = term.could_extract_minus_sign()
    return f"{'Add' if negative else 'Subtract'} ${sympy.latex(-term if negative else term)}$ on both sides"


def _line(reason: str, left: Any, right: Any) -> str:
    return f"{reason}: ${sympy.latex(left)} = {sympy.latex(right)}$."


def _expression(node: ast.expr) -> Any:
    """sympy's form of a syntax tree, products not multiplied out."""
    match node:
        case ast.Constant():
            return sympy.Rational(value_of(node))
        case ast.Name(name):
            return sympy.Symbol(name)
        case ast.UnaryOp(ast.USub(), operand):
            return -_expression(operand)
        case ast.BinOp(left, ast.Pow(), right):
            return _expression(left) ** exponent_of(right)
        case ast.BinOp(left, ast.Add(), right):
            return _expression(left) + _expression(right)
        case ast.BinOp(left, ast.Sub(), right):
            return _expression(left) - _expression(right)
        case ast.BinOp(left, ast.Mult(), right):
            return _expression(left) * _expression(right)
        case ast.BinOp(left, ast.Div(), right):
            return _expression(left) / _expression(right)
        case _:
            raise NotRead(ast.unparse(node))
