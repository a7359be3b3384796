"""Verdicts per second of each verifier, and of math-verify called directly, on the same completions.

python scripts/bench_verifiers.py [--count 1000] [--only math,json_schema]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from rlsd_pl.types import Problem
from rlsd_pl.verifiers import (
    ChoiceVerifier,
    JSONSchemaVerifier,
    MathVerifier,
    NumericVerifier,
    RegexVerifier,
    ThinkAnswerVerifier,
    ToolCallVerifier,
)

Judge = Callable[[Sequence[str], Sequence[Problem]], Sequence[object]]


@dataclass(frozen=True)
class Case:
    """What one row of the table runs: how to make the judge, and the n-th completion with its problem."""

    make: Callable[[], Judge]
    item: Callable[[int], tuple[str, Problem]]


def problem(answer: str | None = None, **metadata: object) -> Problem:
    return Problem(id="bench/0", messages=[{"role": "user", "content": "?"}], answer=answer, metadata=metadata)


def math_verify_judge(texts: Sequence[str], problems: Sequence[Problem]) -> list[bool]:
    """math-verify in this process, as its documentation calls it."""
    from math_verify import parse, verify

    return [verify(parse(f"${p.answer}$"), parse(text)) for text, p in zip(texts, problems, strict=True)]


def exact(n: int) -> tuple[str, Problem]:
    return rf"So \boxed{{\frac{{{2 * n}}}{{14}}}}", problem(rf"\frac{{{n}}}{{7}}")


def symbolic(n: int) -> tuple[str, Problem]:
    return rf"So \boxed{{\sqrt{{{9 * (n + 2)}}} + \pi}}", problem(rf"3\sqrt{{{n + 2}}} + \pi")


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}, "required": ["n"]}
CALL = '<tool_call>{{"name": "f", "arguments": {{"n": {}}}}}</tool_call>'

CASES: dict[str, Case] = {
    "math, exact": Case(lambda: MathVerifier().verify, exact),
    "math, exact (math-verify)": Case(lambda: math_verify_judge, exact),
    "math, symbolic": Case(lambda: MathVerifier().verify, symbolic),
    "math, symbolic (math-verify)": Case(lambda: math_verify_judge, symbolic),
    "json_schema": Case(
        lambda: JSONSchemaVerifier().verify, lambda n: (f'{{"name": "a", "n": {n}}}', problem(schema=SCHEMA))
    ),
    "tool_calls": Case(
        lambda: ToolCallVerifier().verify,
        lambda n: (CALL.format(n), problem(f'[{{"name": "f", "arguments": {{"n": {n}}}}}]')),
    ),
    "regex": Case(
        lambda: RegexVerifier(r"(?s)<think>.*</think>.*").verify, lambda n: (f"<think></think>{n}", problem())
    ),
    "think_answer": Case(
        lambda: ThinkAnswerVerifier().verify, lambda n: (f"<think>a</think><answer>{n}</answer>", problem())
    ),
    "choice": Case(lambda: ChoiceVerifier().verify, lambda n: (rf"\boxed{{{'ABCD'[n % 4]}}}", problem("A"))),
    "numeric": Case(lambda: NumericVerifier().verify, lambda n: (rf"\boxed{{{n}.001}}", problem(str(n)))),
}


def rate(case: Case, count: int) -> float:
    """Verdicts per second over ``count`` distinct completions, start-up excluded."""
    judge = case.make()
    items = [case.item(n) for n in range(1, count + 1)]
    judge(*zip(*(case.item(count + n) for n in range(1, 9)), strict=True))
    begin = time.perf_counter()
    judge([text for text, _ in items], [p for _, p in items])
    return count / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1000, help="completions for each row; symbolic rows take a tenth")
    parser.add_argument("--only", default="", help="rows whose names start with one of these, comma-separated")
    arguments = parser.parse_args()
    table = Table("verifier", "completions", "verdicts / s", title="Throughput, 2 workers where there are workers")
    for name, case in CASES.items():
        if not name.startswith(tuple(arguments.only.split(","))):
            continue
        count = max(1, arguments.count // 10) if "symbolic" in name else arguments.count
        table.add_row(name, str(count), f"{rate(case, count):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
