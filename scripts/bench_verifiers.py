"""Verdicts per second of each verifier, and of math-verify called directly, on the same completions.

All rows run in this process, one after the other. Code and SQL rows are skipped where nothing isolates them.

python scripts/bench_verifiers.py [--count 1000] [--only math,json_schema]
python scripts/bench_verifiers.py --hostile 1024   # one batch of hostile programs, honest ones among them
"""

from __future__ import annotations

import argparse
import random
import resource
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlsd_pl.types import Problem
from rlsd_pl.verifiers import (
    ChoiceVerifier,
    CodeVerifier,
    JSONSchemaVerifier,
    MathVerifier,
    NumericVerifier,
    RegexVerifier,
    SQLVerifier,
    ThinkAnswerVerifier,
    ToolCallVerifier,
)
from rlsd_pl.verifiers.sandbox import SandboxUnavailableError, detect

Judge = Callable[[Sequence[str], Sequence[Problem]], Sequence[object]]


@dataclass(frozen=True)
class Case:
    """What one row of the table runs: how to make the judge, and the n-th completion with its problem."""

    make: Callable[[], Judge]
    item: Callable[[int], tuple[str, Problem]]
    share: float = 1.0
    """Of ``--count``: slow rows take fewer completions."""


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


def function_task(n: int) -> tuple[str, Problem]:
    tests = [f"assert add({n}, {k}) == {n + k}" for k in range(3)]
    return f"```python\ndef add(a, b): return a + b  # {n}\n```", problem(tests=tests, entry_point="add")


def script_task(n: int) -> tuple[str, Problem]:
    return f"```python\nprint(int(input()) + {n})\n```", problem(stdin_tests=[["1", str(n + 1)]])


FOLDER = tempfile.TemporaryDirectory(prefix="bench-")


@cache
def database() -> str:
    """A table of 1,000 orders, made when first asked for."""
    path = Path(FOLDER.name) / "orders.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, region TEXT, amount INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", [(i, "ns"[i % 2], i) for i in range(1000)])
        connection.commit()
    return str(path)


def query_task(n: int) -> tuple[str, Problem]:
    return (
        f"```sql\nSELECT region, SUM(amount) + 0 * {n} FROM orders GROUP BY region ORDER BY region\n```",
        problem("SELECT region, SUM(amount) FROM orders GROUP BY 1 ORDER BY 1", database=database()),
    )


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}, "required": ["n"]}
CALL = '<tool_call>{{"name": "f", "arguments": {{"n": {}}}}}</tool_call>'

CASES: dict[str, Case] = {
    "math, exact": Case(lambda: MathVerifier().verify, exact),
    "math, exact (math-verify)": Case(lambda: math_verify_judge, exact),
    "math, symbolic": Case(lambda: MathVerifier().verify, symbolic, 0.1),
    "math, symbolic (math-verify)": Case(lambda: math_verify_judge, symbolic, 0.1),
    "code, function": Case(lambda: CodeVerifier().verify, function_task, 0.1),
    "code, stdin": Case(lambda: CodeVerifier().verify, script_task, 0.1),
    "sql": Case(lambda: SQLVerifier().verify, query_task, 0.1),
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


HOSTILE = {
    "loop": ["while True: pass", "def f(x):\n    while True: pass", "def f(x): return 9 ** 9 ** 9",
             "import re\ndef f(x): return re.match('(a+)+$', 'a' * 40 + 'b')"],
    "bomb": ["x = []\nwhile True: x.append(bytearray(1 << 20))", "x = []\nwhile True: x.append(len(x))",
             "def f(x): return len('x' * (3 << 30))",
             "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()"],
    "sleeper": ["import time; time.sleep(1e9)", "def f(x):\n    import time\n    time.sleep(1e9)",
                "import threading\nthreading.Event().wait()", "import time\nwhile True: time.sleep(0.01)"],
    "flood": ["while True: print('x' * 1000)", "def f(x):\n    while True: print('x' * 1000)",
              "import os\nwhile True:\n    for fd in range(9):\n        try: os.write(fd, b'x' * 4096)\n"
              "        except OSError: pass", "def f(x): return 'x' * (1 << 23)"],
    "honest": ["def f(x): return x * x\nprint(49)", "def f(x): return sum(x for _ in range(x))\nprint(7 ** 2)"],
}  # fmt: skip


def hostile_batch(count: int) -> list[tuple[str, str, Problem]]:
    """(kind, completion, problem): every kind equally often, all distinct, in an order drawn with seed 0."""
    draw = random.Random(0)
    tasks = [problem(tests="assert f(7) == 49", entry_point="f"), problem(stdin_tests=[["", "49"]])]
    kinds = [kind for kind, _ in zip(cycle(HOSTILE), range(count), strict=False)]
    draw.shuffle(kinds)
    programs = [f"{draw.choice(HOSTILE[kind])}\n# {n}" for n, kind in enumerate(kinds)]
    return [(k, f"```python\n{program}\n```", draw.choice(tasks)) for k, program in zip(kinds, programs, strict=True)]


def run_hostile(count: int) -> Table:
    """One batch through the code verifier with its default limits: statuses by kind, seconds, CPU seconds."""
    kinds, texts, problems = zip(*hostile_batch(count), strict=True)
    verifier, begin = CodeVerifier(), time.perf_counter()
    verdicts = verifier.verify(texts, problems)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    title = f"{time.perf_counter() - begin:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU time"
    table = Table("kind", "verdicts", title=f"{count} programs, {verifier.concurrency} at a time: {title}")
    for kind in HOSTILE:
        found = Counter(v.status.value for k, v in zip(kinds, verdicts, strict=True) if k == kind)
        table.add_row(kind, ", ".join(f"{status} {n}" for status, n in sorted(found.items())))
    return table


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
    parser.add_argument("--count", type=int, default=1000, help="completions for each row; slow rows take a tenth")
    parser.add_argument("--only", default="", help="rows whose names start with one of these, comma-separated")
    parser.add_argument("--hostile", type=int, default=0, help="run one batch of so many hostile programs instead")
    arguments = parser.parse_args()
    console = Console()
    if arguments.hostile:
        console.print(run_hostile(arguments.hostile))
        return
    table = Table("verifier", "completions", "verdicts / s", title="Throughput, 2 workers where there are workers")
    for name, case in CASES.items():
        if not name.startswith(tuple(arguments.only.split(","))):
            continue
        count = max(1, round(arguments.count * case.share))
        try:
            table.add_row(name, str(count), f"{rate(case, count):,.0f}")
        except SandboxUnavailableError as error:
            table.add_row(name, "0", str(error))
    console.print(table)
    console.print(f"Programs and queries: one for each CPU, {detect().describe().partition(';')[0]}.")


if __name__ == "__main__":
    main()
