"""Mutated and random completions through the code and SQL verifiers: no exception, no hang, no leak, no false pass."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.code import CodeVerifier
from rlsd_pl.verifiers.sandbox import Level, Limits, Sandbox, detect
from rlsd_pl.verifiers.sql.reference import QueryLimits
from rlsd_pl.verifiers.sql.verifier import SQLVerifier

pytestmark = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

CODE_SEED = """Reasoning.</think>
```python
import math

def f(xs):
    total = 0
    for x in xs:
        total += x * x
    return math.isqrt(total)
```
"""
SQL_SEED = """So:
```sql
SELECT a, COUNT(*) AS n FROM t WHERE b > 1 GROUP BY a ORDER BY n DESC, a LIMIT 5
```
"""
WORDS = ["while True:", "import os", "SELECT", "JOIN t", "UNION ALL", "</think>", "    ", "os._exit(0)", "exit()"]
PIECES = [
    *WORDS,
    "\0",
    "\ud800",
    "```",
    "\n",
    "(",
    ")" * 200,
    "[" * 300,
    "9" * 400,
    "'",
    '"',
    ";",
    "--",
    "/*",
    "é",
    "💥",
]


def mutated(seed: str, chance: random.Random) -> str:
    text = seed
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(text))
        match chance.randrange(4):
            case 0:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randint(1, 8) :]
            case 2:
                text = text[:at] + chr(chance.randrange(1, 0x3000)) + text[at + 1 :]
            case _:
                other = chance.randint(0, len(text))
                text = text[:at] + text[min(at, other) : max(at, other)] + text[at:]
    return text


def code_task(folder: Path) -> tuple[Verifier, Problem, str]:
    verifier = CodeVerifier(concurrency=4)
    verifier.sandbox = Sandbox(verifier.sandbox.level, Limits(cpu_seconds=1, wall_seconds=4.0))
    tests = "assert f([3, 4]) == 5\nassert f([]) == 0\nassert f([1, 1]) == 1"
    return verifier, Problem("f", [], metadata={"tests": tests, "entry_point": "f"}), CODE_SEED


def sql_task(folder: Path) -> tuple[Verifier, Problem, str]:
    with closing(sqlite3.connect(folder / "t.sqlite")) as connection:
        connection.execute("CREATE TABLE t (a TEXT, b INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(f"a{i % 3}", i) for i in range(40)])
        connection.commit()
    verifier = SQLVerifier(query_limits=QueryLimits(seconds=0.5), concurrency=4)
    query = SQL_SEED.split("```sql\n")[1].split("\n```")[0]
    return verifier, Problem("t", [], answer=query, metadata={"database": str(folder / "t.sqlite")}), SQL_SEED


def children() -> set[str]:
    """Process ids of this process' children, alive or dead."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(stat.parent.name)
    return found


def fuzz(task: Callable[[Path], tuple[Verifier, Problem, str]], folder: Path, count: int, seconds_each: float) -> None:
    verifier, problem, seed = task(folder)
    assert verifier.verify([seed], [problem])[0].status is Status.PASS
    chance = random.Random(0)
    before, descriptors, started = children(), len(os.listdir("/proc/self/fd")), time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, count, 500):
        texts = [mutated(seed, chance) for _ in range(min(500, count - start))]
        verdicts = verifier.verify(texts, [problem] * len(texts))
        errors = [(text, v.detail) for text, v in zip(texts, verdicts, strict=True) if v.status is Status.ERROR]
        assert errors == []
        assert {v.reward for v in verdicts} <= {0.0, 1.0}
    assert time.monotonic() - started < 20 + seconds_each * count
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000
    assert children() == before


@pytest.mark.parametrize("task", [code_task, sql_task])
def test_mutated_completions(task: Callable[[Path], tuple[Verifier, Problem, str]], tmp_path: Path) -> None:
    fuzz(task, tmp_path, 40, seconds_each=1.0)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("task", [code_task, sql_task])
def test_ten_thousand_mutated_completions(
    task: Callable[[Path], tuple[Verifier, Problem, str]], tmp_path: Path
) -> None:
    fuzz(task, tmp_path, 10_000, seconds_each=0.5)
