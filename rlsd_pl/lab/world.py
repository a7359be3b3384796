"""The rules of the lab's world: digit chains, evaluated left to right modulo 10.

An *expression* such as ``"3+4*2"`` is a chain of digits joined by ``+ - *`` without precedence. A *fact* is one step's
left side as it is written, for example ``"7*2"``; there are 300 of them. A *misconception* is a fact of which the
demonstrator holds a fixed wrong result.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from types import MappingProxyType

DIGITS = "0123456789"
OPERATORS = "+-*"
FACTS = tuple(f"{a}{op}{b}" for a, op, b in product(DIGITS, OPERATORS, DIGITS))

HELD_OUT_SHARE = 16
"""One expression in this many belongs to validation."""

_EXPRESSION = re.compile(r"[0-9](?:[-+*][0-9])+")


def fact_result(fact: str) -> int:
    """True result, in 0..9, of a fact such as ``"7*2"``."""
    a, operator, b = int(fact[0]), fact[1], int(fact[2])
    match operator:
        case "+":
            return (a + b) % 10
        case "-":
            return (a - b) % 10
        case _:
            return (a * b) % 10


def steps_of(expression: str) -> list[str]:
    """The right-hand parts of a chain in order: ``"3+4*2"`` gives ``["+4", "*2"]``."""
    return [expression[i : i + 2] for i in range(1, len(expression), 2)]


def running_values(expression: str) -> list[int]:
    """True result after each step: ``"3+4*2"`` gives ``[7, 4]``.

    Raises:
        ValueError: if ``expression`` is not a chain of at least two digits.
    """
    if not _EXPRESSION.fullmatch(expression):
        raise ValueError(f"got {expression!r}, expected digits joined by + - *, such as '3+4*2'")
    values, value = [], int(expression[0])
    for step in steps_of(expression):
        value = fact_result(f"{value}{step}")
        values.append(value)
    return values


def is_held_out(expression: str) -> bool:
    """Whether the expression belongs to validation.

    A property of the text alone, so that no seed of training or pre-training can ever touch a validation problem.
    """
    return hashlib.sha256(expression.encode()).digest()[0] % HELD_OUT_SHARE == 0


@dataclass(frozen=True)
class ChainWorld:
    """How hard the world is.

    Attributes:
        operands: digits in one expression, at least 2.
        misconceptions: how many of the 300 facts the demonstrator holds wrong, 0..300.
        seed: selects which facts these are and their wrong results. The shipped base knows the world of the defaults.
        operators: drawn from uniformly; one that stands there twice comes up twice as often. The facts stay the same.
    """

    operands: int = 8
    misconceptions: int = 36
    seed: int = 50
    operators: str = OPERATORS

    def __post_init__(self) -> None:
        if self.operands < 2:
            raise ValueError(f"got operands={self.operands}, expected at least 2")
        if not 0 <= self.misconceptions <= len(FACTS):
            raise ValueError(f"got misconceptions={self.misconceptions}, expected 0..{len(FACTS)}")
        if not self.operators or set(self.operators) - set(OPERATORS):
            raise ValueError(f"got operators={self.operators!r}, expected one or more of {OPERATORS}")

    @cached_property
    def wrong_results(self) -> Mapping[str, int]:
        """The misconceived facts, each with its fixed wrong result."""
        rng = random.Random(f"world/{self.seed}")
        chosen = rng.sample(FACTS, self.misconceptions)
        return MappingProxyType({fact: other_digit(fact_result(fact), rng) for fact in sorted(chosen)})

    def sample_expression(self, rng: random.Random) -> str:
        """A chain with digits and operators drawn uniformly."""
        steps = (rng.choice(self.operators) + rng.choice(DIGITS) for _ in range(self.operands - 1))
        return rng.choice(DIGITS) + "".join(steps)


def other_digit(digit: int, rng: random.Random) -> int:
    """A digit other than ``digit``, uniformly."""
    return (digit + rng.randint(1, 9)) % 10
