"""How a process died, and what that says of the completion: the table 'When a process dies' of docs/verifiers.md."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from test_pool import LIMITS

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers import CodeVerifier, MathVerifier, SQLVerifier
from rlsd_pl.verifiers.code.verdicts import undisturbed
from rlsd_pl.verifiers.math.verifier import MATH_LIMITS
from rlsd_pl.verifiers.sandbox import Finished, Level, Run, Stop, detect
from rlsd_pl.verifiers.verdicts import unless_value
from rlsd_pl.verifiers.workers.pool import WorkerPool

isolated = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

CRASHES = {
    "segfault": "import ctypes\nctypes.string_at(0)",
    "abort": "import os\nos.abort()",
    "stack": "import ctypes\nctypes.memset(ctypes.addressof(ctypes.c_int()), 65, 1 << 24)",
}
ADD = Problem("add", [], metadata={"tests": "assert add(1, 2) == 3", "entry_point": "add"})
PRINT = Problem("print", [], metadata={"stdin_tests": [["", "3"]]})


@isolated
@pytest.mark.parametrize("crash", CRASHES)
def test_a_program_that_crashes_fails(crash: str) -> None:
    """Also after it has printed what was asked for, which its exit code would not change."""
    at_once, in_call = CRASHES[crash], CRASHES[crash].replace("\n", "; ")
    programs = [(at_once, ADD), (f"def add(a, b): {in_call}", ADD), (f"print(3, flush=True)\n{at_once}", PRINT),
                ("print(3, flush=True)\nraise SystemExit(1)", PRINT)]  # fmt: skip
    texts = [f"```python\n{program}\n```" for program, _ in programs]
    verdicts = CodeVerifier().verify(texts, [problem for _, problem in programs])
    assert [short(verdict) for verdict in verdicts] == [("fail", "crashed")] * 3 + [("pass", "passed")]


@pytest.mark.parametrize(
    ("act", "expected"),
    [("abort", ("limit", "worker_crashed")), ("exit", ("limit", "worker_crashed")),
     ("killed", ("limit", "worker_killed")), ("raise", ("error", "worker_failed"))],
)  # fmt: skip
def test_a_judge_that_dies_gives_no_pass(act: str, expected: tuple[str, str]) -> None:
    pool = WorkerPool("handlers.misbehave", workers=1, limits=LIMITS)
    (reply,) = pool.map([{"act": act}])
    pool.close()
    verdict = unless_value(reply)
    assert verdict is not None
    assert short(verdict) == expected


def short(verdict: Verdict) -> tuple[str, str]:
    return str(verdict.status), verdict.detail.partition(":")[0]


def became(cpu_seconds: float, runs: list[Finished]) -> Finished:
    """What :func:`undisturbed` makes of these runs, each started after the one before it."""
    job = undisturbed(Run("script"), cpu_seconds)
    next(job)
    try:
        for finished in runs:
            job.send(finished)
    except StopIteration as end:
        return end.value
    raise AssertionError("another run was asked for")


@pytest.mark.parametrize(("deaths", "stop"), [(0, Stop.ENDED), (4, Stop.ENDED), (5, Stop.KILLED)])
def test_a_killed_run_is_repeated(deaths: int, stop: Stop) -> None:
    killed, done = Finished(Stop.ENDED, companion_signal=signal.SIGKILL), Finished(Stop.ENDED)
    assert became(60, [killed] * deaths + [done]).stop is stop


def test_a_kill_at_the_cpu_limit_is_not_repeated() -> None:
    assert became(0, [Finished(Stop.ENDED, signal=signal.SIGKILL)]).signal == signal.SIGKILL


@contextmanager
def killing(pause: float, share: float, at_most: int = 1000) -> Iterator[list[int]]:
    """Kill children of this process at random, a ``share`` of them every ``pause`` seconds; yields whom."""
    stop, killed = threading.Event(), list[int]()
    draw = random.Random(0)

    def kill() -> None:
        while not stop.wait(pause) and len(killed) < at_most:
            children = Path(f"/proc/self/task/{main}/children").read_text().split()
            for pid in draw.sample(children, k=min(int(share * len(children) + draw.random()), at_most - len(killed))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    killed.append(int(pid))

    main = threading.main_thread().native_id
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        stop.set()
        killer.join()


@isolated
def test_killed_programs_and_queries_lose_no_verdict(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "t.sqlite")) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(20)])
        connection.commit()
    code, sql = CodeVerifier(concurrency=2), SQLVerifier(concurrency=2)
    query = Problem("q", [], answer="SELECT a FROM t ORDER BY a", metadata={"database": str(tmp_path / "t.sqlite")})
    # All different, because equal ones run once.
    programs = [f"```python\ndef add(a, b): return a + b - {n % 2}  # {n}\n```" for n in range(30)]
    wheres = ["", "WHERE a > 0"]
    queries = [f"```sql\nSELECT a FROM t {wheres[n % 2]} ORDER BY a -- {n}\n```" for n in range(30)]
    assert sql.check(query) is None
    # Fewer than would turn a run into an error, should they all hit the same one.
    with killing(pause=0.1, share=0.2, at_most=4) as killed:
        judged = code.verify(programs, [ADD] * 30) + sql.verify(queries, [query] * 30)
    assert [verdict.reward for verdict in judged] == [1.0, 0.0] * 30, {v.detail for v in judged}
    assert killed
    sql.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_verdict_on_mathematics_is_lost_or_wrong_while_workers_are_killed() -> None:
    """2,000 completions that need sympy, 50 workers, and every moment one of 50 is killed."""
    pairs = [(rf"\sqrt{{{9 * n}}} + \pi", rf"{3 + n % 2}\sqrt{{{n}}} + \pi") for n in range(2, 2002)]
    texts = [rf"So \boxed{{{answer}}}." for answer, _ in pairs]
    problems = [Problem(f"p/{n}", [], answer=reference) for n, (_, reference) in enumerate(pairs)]
    limits = replace(MATH_LIMITS, wall_seconds=120.0, start_seconds=600.0, batch_seconds=1200.0)  # for 2 cores
    quiet, disturbed = MathVerifier(workers=2, limits=limits), MathVerifier(workers=50, limits=limits)
    expected = quiet.verify(texts, problems)
    quiet.close()
    assert {str(verdict.status) for verdict in expected} == {"pass", "fail"}
    with killing(pause=0.5, share=0.02) as killed:
        found = disturbed.verify(texts, problems)
    assert found == expected
    print(f"{len(killed)} workers killed, {disturbed._pool.counts}")
    assert disturbed._pool.counts.died >= 10
    disturbed.close()
