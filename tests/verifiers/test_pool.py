"""The pool under everything that a handler, a library or the machine can do to it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rlsd_pl.verifiers.workers.batch import WorkerSlots
from rlsd_pl.verifiers.workers.pool import Outcome, WorkerLimits, WorkerPool

LIMITS = WorkerLimits(wall_seconds=0.5, memory_bytes=512 << 20, reply_bytes=4096, request_bytes=4096)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def members(group: int) -> list[int]:
    """Ids of the processes in a process group."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if alive(pid) and os.getpgid(pid) == group]


def gone(pids: list[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def misbehaving() -> Iterator[WorkerPool]:
    pool = WorkerPool("handlers.misbehave", workers=1, limits=LIMITS)
    yield pool
    pool.close()


def test_replies_come_in_order_from_several_workers() -> None:
    pool = WorkerPool("handlers.slow_square", workers=2, limits=LIMITS)
    replies = pool.map([{"n": n} for n in range(60)])
    assert [reply.value["square"] for reply in replies] == [n * n for n in range(60)]
    assert pool.counts.started == 2
    pool.close()


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        ("spin", Outcome.TIMEOUT),
        ("spin_in_c", Outcome.TIMEOUT),
        ("sleep", Outcome.TIMEOUT),
        ("memory", Outcome.MEMORY),
        ("raise", Outcome.FAILED),
        ("exit", Outcome.CRASHED),
        ("abort", Outcome.CRASHED),
        ("killed", Outcome.KILLED),
        ("print", Outcome.VALUE),
    ],
)
def test_the_worker_after_a_bad_request_serves_the_next(misbehaving: WorkerPool, act: str, outcome: Outcome) -> None:
    begin = time.monotonic()
    bad, good = misbehaving.map([{"act": act}, {"act": "nothing"}])
    assert bad.outcome is outcome, bad.detail
    assert bad.value in (None, {"did": "print"})
    assert good.value == {"did": "nothing"}
    assert time.monotonic() - begin < 10


def test_a_reply_over_the_cap_is_refused() -> None:
    pool = WorkerPool("handlers.long_reply", workers=1, limits=LIMITS)
    outcomes = [reply.outcome for reply in pool.map([{"size": 10}, {"size": 100_000}, {"size": 20}])]
    assert outcomes == [Outcome.VALUE, Outcome.OVERSIZED, Outcome.VALUE]
    pool.close()


def test_a_request_over_the_cap_is_never_sent() -> None:
    pool = WorkerPool("handlers.echo", workers=1, limits=LIMITS)
    long, short = pool.map([{"n": "x" * 5000}, {"n": 1}])
    assert (long.outcome, short.value["echo"]) == (Outcome.OVERSIZED, 1)
    pool.close()


def test_a_request_larger_than_the_pipe_arrives() -> None:
    pool = WorkerPool("handlers.echo", workers=1, limits=WorkerLimits(request_bytes=1 << 22, reply_bytes=1 << 22))
    (reply,) = pool.map([{"n": "x" * (1 << 20)}])
    assert len(reply.value["echo"]) == 1 << 20
    pool.close()


def test_workers_are_replaced_after_their_jobs() -> None:
    pool = WorkerPool("handlers.echo", workers=1, limits=WorkerLimits(jobs_per_worker=5))
    pids = {reply.value["pid"] for reply in pool.map([{"n": n} for n in range(20)])}
    assert len(pids) == 4
    assert pool.counts.recycled == 4
    pool.close()


def test_equal_requests_run_once() -> None:
    pool = WorkerPool("handlers.echo", workers=1, limits=WorkerLimits(jobs_per_worker=1))
    replies = pool.map([{"n": 1}, {"n": 2}, {"n": 1}])
    assert [reply.value["echo"] for reply in replies] == [1, 2, 1]
    assert len({reply.value["pid"] for reply in replies}) == 2
    pool.close()


@pytest.mark.parametrize("handler", ["no_such_module.f", "handlers.no_such_function"])
def test_a_handler_that_does_not_load_fails_every_request_with_the_reason(handler: str) -> None:
    pool = WorkerPool(handler, workers=2)
    replies = pool.map([{"n": n} for n in range(3)])
    assert {reply.outcome for reply in replies} == {Outcome.FAILED}
    assert "no_such" in replies[0].detail
    pool.close()


@pytest.mark.parametrize("act", ["sleep", "spin", "spin_in_c"])
def test_requests_that_burn_time_shorten_the_limits_of_the_rest(act: str, caplog: pytest.LogCaptureFixture) -> None:
    """20 hostile requests of 3 s each, one honest request after each: all judged, in less than half of 60 s."""
    pool = WorkerPool("handlers.misbehave", workers=1, limits=WorkerLimits(wall_seconds=3.0, batch_seconds=6.0))
    begin = time.monotonic()
    hostile = [{"act": act, "n": n} for n in range(20)]
    honest = [{"act": "nothing", "n": n} for n in range(20)]
    replies = pool.map([request for pair in zip(hostile, honest, strict=True) for request in pair])
    assert time.monotonic() - begin < 30
    assert [reply.outcome for reply in replies] == [Outcome.TIMEOUT, Outcome.VALUE] * 20
    details = [reply.detail for reply in replies[::2]]
    assert details[0] == "over 3 s"
    assert details[-1] == "shortened to 0.3 s, after others of the batch had used up 6 s at their limits"
    assert len([r for r in caplog.records if "limits of the rest were shortened" in r.message]) == 1
    pool.close()


def test_what_reached_a_short_limit_runs_again_under_the_full_one() -> None:
    """Two spinning requests use up half of the budget; a request of 0.6 s then needs its second attempt."""
    pool = WorkerPool("handlers.nap_or_spin", workers=1, limits=WorkerLimits(wall_seconds=2.0, batch_seconds=6.0))
    replies = pool.map([{"spin": n} for n in range(2)] + [{"nap": 0.6 + n / 1000} for n in range(3)])
    assert [reply.outcome for reply in replies] == [Outcome.TIMEOUT] * 2 + [Outcome.VALUE] * 3
    assert pool.counts.timed_out == 5
    pool.close()


def test_a_kill_does_not_cost_a_start() -> None:
    """The handler is imported once; what is killed or crashes is a fork of the process that imported it."""
    pool = WorkerPool("handlers.misbehave", workers=1, limits=LIMITS)
    acts = ["sleep", "abort", "memory", "killed", "nothing"]
    outcomes = [reply.outcome for reply in pool.map([{"act": act} for act in acts])]
    assert outcomes == [Outcome.TIMEOUT, Outcome.CRASHED, Outcome.MEMORY, Outcome.KILLED, Outcome.VALUE]
    assert pool.counts.started == 1
    pool.close()


def test_idle_workers_killed_from_outside_cost_nothing() -> None:
    pool = WorkerPool("handlers.echo", workers=2)
    pool.map([{"n": n} for n in range(4)])
    workers = [pid for group in pool.pids() for pid in members(group)]
    for pid in pool.pids():
        os.kill(pid, signal.SIGKILL)
    assert gone(workers)
    assert [reply.value["echo"] for reply in pool.map([{"n": 7}, {"n": 8}])] == [7, 8]
    assert pool.counts.died == 2
    pool.close()


def _kill_at_random(pool: WorkerPool, stop: threading.Event, pause: float) -> None:
    draw = random.Random(0)
    while not stop.wait(pause):
        for pid in draw.sample(pool.pids(), k=min(1, len(pool.pids()))):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.mark.parametrize(
    ("requests", "workers", "pause"),
    [(300, 2, 0.3), pytest.param(2000, 50, 0.05, marks=pytest.mark.slow)],
)
def test_no_reply_is_lost_or_wrong_while_workers_are_killed(requests: int, workers: int, pause: float) -> None:
    pool = WorkerPool("handlers.slow_square", workers=workers)
    stop = threading.Event()
    killer = threading.Thread(target=_kill_at_random, args=(pool, stop, pause))
    killer.start()
    try:
        replies = pool.map([{"n": n} for n in range(requests)])
    finally:
        stop.set()
        killer.join()
    assert [reply.value and reply.value["square"] for reply in replies] == [n * n for n in range(requests)]
    assert pool.counts.died > 0
    pool.close()


def test_calls_from_threads_do_not_mix() -> None:
    pool = WorkerPool("handlers.slow_square", workers=2)
    results: dict[int, list[int]] = {}

    def call(base: int) -> None:
        results[base] = [reply.value["square"] for reply in pool.map([{"n": base + n} for n in range(20)])]

    threads = [threading.Thread(target=call, args=(base,)) for base in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {base: [(base + n) ** 2 for n in range(20)] for base in (0, 100, 200)}
    # The threads that started the workers are gone; the workers must not have gone with them.
    assert pool.map([{"n": 3}])[0].value == {"square": 9}
    assert pool.counts.started == 2
    pool.close()


def test_close_leaves_no_process_and_the_pool_starts_anew() -> None:
    pool = WorkerPool("handlers.misbehave", workers=1, limits=LIMITS)
    pool.map([{"act": "fork"}])
    pids = pool.pids()
    group = members(os.getpgid(pids[0]))
    assert len(group) == 3  # the one that imported the handler, the one that serves, and what that started
    pool.close()
    assert gone(pids)
    assert gone(group)
    assert pool.map([{"act": "nothing"}])[0].outcome is Outcome.VALUE
    pool.close()


def test_a_call_that_was_interrupted_leaves_nothing_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was under way when the call ended must not answer one of the next call."""
    pool = WorkerPool("handlers.nap_or_spin", workers=1)
    pool.map([{"nap": 0}])

    def interrupt(slots: WorkerSlots) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkerSlots, "collect", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.map([{"spin": 1}])
    (reply,) = pool.map([{"nap": 0.1}])
    assert (reply.outcome, pool.counts.timed_out) == (Outcome.VALUE, 0)
    pool.close()


def test_a_pool_that_is_forgotten_leaves_no_process() -> None:
    pool = WorkerPool("handlers.echo", workers=2)
    pool.map([{"n": 1}, {"n": 2}])
    pids = pool.pids()
    del pool
    assert gone(pids)


@pytest.mark.parametrize("act", ["sleep", "spin"])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends at its next read or CPU limit")
def test_workers_die_with_a_killed_parent(act: str) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import threading\n"
        "from rlsd_pl.verifiers.workers.pool import WorkerLimits, WorkerPool\n"
        "pool = WorkerPool('handlers.misbehave', workers=1, limits=WorkerLimits(wall_seconds=60))\n"
        "pool.map([{'act': 'nothing'}])\n"
        "print(*pool.pids(), flush=True)\n"
        "pool.map([{'act': sys.argv[2]}])\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, os.path.dirname(__file__), act], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    time.sleep(0.2)
    assert len(pids) == 1
    assert alive(pids[0])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pids)


def test_workers_inherit_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlsd_pl.verifiers.workers.process import _environment

    monkeypatch.setenv("HF_TOKEN", "secret")
    assert "secret" not in _environment().values()


@pytest.mark.parametrize(
    "module",
    [
        "rlsd_pl.verifiers.workers.worker",
        "rlsd_pl.verifiers.math.symbolic",
        "rlsd_pl.verifiers.documents.schemas",
        "rlsd_pl.verifiers.documents.matching",
    ],
)
def test_what_a_worker_imports_is_light(module: str) -> None:
    program = (
        f"import sys, {module}; sys.exit(bool({{'torch', 'lightning', 'transformers', 'numpy'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
