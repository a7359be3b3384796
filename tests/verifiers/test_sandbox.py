"""The walls, seen from outside: what each level stops, and that nothing of a run is left."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from pathlib import Path

import pytest

from rlsd_pl.verifiers.sandbox import (
    Isolation,
    Level,
    Limits,
    Run,
    Sandbox,
    SandboxUnavailableError,
    Stop,
    failure,
    open_sandbox,
    run,
    run_jobs,
    runner,
    selftest,
)

STRONG = (Level.L2, Level.L3)


@pytest.fixture(params=STRONG, ids=lambda level: level.name)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    reason = failure(request.param)
    if reason is not None:
        pytest.skip(f"no {request.param.name} here: {reason}")
    return Sandbox(request.param, Limits(cpu_seconds=1, wall_seconds=5.0, output_bytes=1 << 16))


def script(program: str, stdin: str = "") -> Run:
    source = program.encode()
    return Run("script", b"%d\n" % len(source) + source + stdin.encode())


def output_of(program: str, sandbox: Sandbox, stdin: str = "") -> str:
    finished = run(script(program, stdin), sandbox)
    assert finished.output.startswith(b"ready\n"), finished
    return finished.output.removeprefix(b"ready\n").decode()


def attempt(statement: str) -> str:
    """A program that prints whether the operating system let ``statement`` through."""
    return f"try:\n    {statement}\n    print('open')\nexcept OSError as error:\n    print('blocked', error.errno)\n"


def children() -> set[int]:
    """Processes whose parent is this one, zombies included."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(entry.name))
    return found


def test_program_reads_its_input_and_prints(sandbox: Sandbox) -> None:
    assert output_of("print(sum(map(int, input().split())))", sandbox, "1 2 39\n") == "42\n"


def test_large_input_passes_without_deadlock(sandbox: Sandbox) -> None:
    program = "import sys\nprint(len(sys.stdin.read()))"
    assert output_of(program, sandbox, "x" * 1_000_000) == "1000000\n"


@pytest.mark.parametrize(
    "statement",
    [
        "open('/etc/passwd').read()",
        "__import__('os').listdir('/home')",
        "__import__('os').fork()",
        "__import__('os').setsid()",
        "__import__('os').execv('/bin/sh', ['sh', '-c', 'true'])",
        "__import__('subprocess').run(['/bin/true'])",
        "__import__('os').kill(__import__('os').getppid(), 0)",
        "__import__('socket').socket()",
        "__import__('socket').socket(type=__import__('socket').SOCK_DGRAM)",
        "open('/dev/shm/rlsd-pl-test', 'w').write('x')",
        "open('/var/tmp/rlsd-pl-test', 'w').write('x')",
        "__import__('os').chmod('/tmp', 0o777)",
        "__import__('os').setpriority(0, 0, 5)",
        "__import__('os').memfd_create('x')",
        "__import__('resource').prlimit(__import__('os').getppid(), 7, (9, 9))",
    ],
)
def test_reaching_out_is_blocked(sandbox: Sandbox, statement: str) -> None:
    assert output_of(attempt(statement), sandbox).startswith("blocked")


def test_the_same_attempts_go_through_without_walls(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    outside = tmp_path / "seen"
    exec(attempt(f"open({str(outside)!r}, 'w').write('x')"))
    assert outside.exists()
    if failure(Level.L1) is None:
        assert output_of(attempt("open('/etc/passwd').read()"), Sandbox(Level.L1)) == "open\n"


def test_environment_and_descriptors_are_empty(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert "SECRET" not in output_of("import os; print(os.environ)", sandbox)
    with socket.socket() as inherited:
        inherited.set_inheritable(True)
        probe = "import os\nfor fd in range(3, 64):\n    try: os.fstat(fd); print(fd)\n    except OSError: pass"
        assert output_of(probe, sandbox) == ""


def test_threads_imports_and_asyncio_work(sandbox: Sandbox) -> None:
    program = (
        "import asyncio, decimal, threading\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "async def f(): return decimal.Decimal(1)\n"
        "print(asyncio.run(f()))"
    )
    assert output_of(program, sandbox) == "thread\n1\n"


def test_scratch_folder_exists_only_where_its_size_is_capped(sandbox: Sandbox) -> None:
    found = output_of(attempt("open('/tmp/note', 'w').write('x')"), sandbox)
    assert found == "open\n" if sandbox.level is Level.L3 else found.startswith("blocked")
    assert not Path("/tmp/note").exists()


def test_sleeping_is_ended_by_the_wall_clock(sandbox: Sandbox) -> None:
    started = time.monotonic()
    short = Sandbox(sandbox.level, Limits(wall_seconds=0.5))
    assert run(script("import time; time.sleep(1e9)"), short).stop is Stop.WALL
    assert time.monotonic() - started < 3


def test_cpu_memory_and_output_are_limited(sandbox: Sandbox) -> None:
    spin = run(script("while True: pass"), sandbox)
    assert spin.signal in (9, 24) or spin.stop is Stop.WALL  # the wall comes first on a crowded machine
    assert output_of("try: bytearray(3 << 30)\nexcept MemoryError: print('no')", sandbox) == "no\n"
    flood = run(script("while True: print('x' * 1000)"), sandbox)
    assert flood.stop is Stop.OUTPUT
    assert len(flood.output) == sandbox.limits.output_bytes


def test_nothing_is_left_of_hostile_runs(sandbox: Sandbox) -> None:
    before, descriptors = children(), len(os.listdir("/proc/self/fd"))
    hostile = [
        "import time; time.sleep(100)",
        "import signal\nfor s in range(1, 32):\n  try: signal.signal(s, signal.SIG_IGN)\n  except OSError: pass\n"
        "while True: pass",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(100,)).start()",
        "import os; os.close(1); import time; time.sleep(100)",
    ]

    def job(program: str):
        return (yield script(program))

    short = Sandbox(sandbox.level, Limits(cpu_seconds=1, wall_seconds=1.0))
    run_jobs([job(program) for program in hostile], short, concurrency=4)
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def sleeper(number: int):
    return (yield script(f"import time; time.sleep(100)  # {number}"))


def test_sleeping_programs_run_beside_each_other(sandbox: Sandbox) -> None:
    """24 programs that sleep out their 3 s would take 72 s one after the other."""
    started = time.monotonic()
    short = Sandbox(sandbox.level, Limits(wall_seconds=3.0))
    found = run_jobs([sleeper(n) for n in range(24)], short, concurrency=1)
    assert {finished.stop for finished in found} == {Stop.WALL}
    assert time.monotonic() - started < 36


def test_programs_at_their_limits_shorten_those_of_the_rest(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Loops use up the budget. Honest programs pass, one that needs 0.5 s of CPU time in a second attempt."""

    def job(program: str):
        return (yield script(program))

    loops = [f"while True: pass  # {n}" for n in range(8)]
    honest = [f"print({n})" for n in range(8)]
    heavy = "import time\nwhile time.process_time() < 0.5: pass\nprint('done')"
    strict = Sandbox(sandbox.level, Limits(cpu_seconds=1, wall_seconds=30.0, batch_seconds=3.5))
    mixed = [program for pair in zip(loops, honest, strict=True) for program in pair]
    *found, last = run_jobs([job(program) for program in (*mixed, heavy)], strict, concurrency=1)
    assert [finished.output for finished in found[1::2]] == [b"ready\n%d\n" % n for n in range(8)]
    assert last.output == b"ready\ndone\n" or "shortened" in last.message
    assert Stop.NOT_STARTED not in {finished.stop for finished in found}
    full = [finished for finished in found[::2] if not finished.message]
    assert 2 <= len(full) <= 4
    shortened = [finished for finished in found[::2] if finished.message]
    assert {finished.stop for finished in shortened} == {Stop.CPU}
    pattern = r"shortened to (0\.\d) s of CPU time and 10 s of waiting, after others"
    assert all(float(re.match(pattern, finished.message)[1]) >= 0.3 for finished in shortened)  # pyright: ignore[reportOptionalSubscript]
    assert len([record for record in caplog.records if "Programs that reached their limits" in record.message]) == 1


def test_sleeping_programs_share_a_bounded_memory(sandbox: Sandbox) -> None:
    """Six programs hold 100 MiB and sleep where all together may have 256 MiB: they are judged, in turns."""

    def job(number: int):
        return (yield script(f"held = b'x' * (100 << 20)\nimport time\ntime.sleep(1)\nprint({number})"))

    small = Sandbox(sandbox.level, Limits(memory_bytes=128 << 20, wall_seconds=20.0))
    found = run_jobs([job(n) for n in range(6)], small, concurrency=1)
    assert {finished.stop for finished in found} <= {Stop.ENDED, Stop.MEMORY}
    assert sum(finished.stop is Stop.ENDED for finished in found) >= 3


def test_a_start_waits_for_what_others_use(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of threads may leave no process for the next program: that one is not tried until the bomb is over."""
    start, failures = runner.ActiveRun, iter([False, True, False, False])
    attempts: list[float] = []

    def scarce(*arguments: object) -> object:
        attempts.append(time.monotonic())
        if next(failures):
            raise OSError(errno.EAGAIN, "no processes left")
        return start(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(runner, "ActiveRun", scarce)

    def job(number: int):
        return (yield script(f"import time\ntime.sleep(0.3)\nprint({number})"))

    found = run_jobs([job(n) for n in range(3)], sandbox, concurrency=2)
    assert [finished.output for finished in found] == [b"ready\n%d\n" % n for n in range(3)]
    assert len(attempts) == 4
    assert attempts[2] - attempts[1] > 0.3


def test_interrupted_parent_leaves_nothing(sandbox: Sandbox) -> None:
    before = children()

    def job():
        yield script("import time; time.sleep(100)")

    def failing():
        yield script("pass")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(), failing()], sandbox, concurrency=2)
    assert children() == before


def test_jobs_keep_their_order_and_may_run_several_programs(sandbox: Sandbox) -> None:
    def job(number: int):
        total = 0
        for _ in range(number):
            finished = yield script(f"print({number})")
            total += int(finished.output.removeprefix(b"ready\n"))
        return total

    assert run_jobs([job(n) for n in (2, 0, 3, 1)], sandbox, concurrency=3) == [4, 0, 9, 1]


def test_missing_bubblewrap_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "install the package `bubblewrap`" in (failure(Level.L3) or "")


def test_what_lies_outside_does_not_exist(sandbox: Sandbox, tmp_path: Path) -> None:
    """Where this machine allows mount namespaces; elsewhere the self-test notes that L2 leaves this open."""
    notes: list[str] = []
    assert failure(sandbox.level, notes) is None
    if notes:
        assert "may ask whether files exist" in notes[0]
        pytest.skip(notes[0])
    secret = tmp_path / "secret"
    secret.write_text("x")
    program = (
        f"import os\nfor path in ({str(secret)!r}, '/etc/passwd', '/etc/nothing', '/proc/self/stat', '/proc/1'):\n"
        "    for ask in (os.stat, os.lstat, os.readlink, open, os.listdir, os.chdir, os.mkdir,\n"
        "                lambda p: os.open(p, os.O_PATH), lambda p: os.access(p, os.F_OK) or [][0]):\n"
        "        try: print(path, ask(path) and 'there')\n        except IndexError: pass\n"
        "        except OSError as error:\n"
        "            if error.errno != 2 and ask is not os.mkdir: print(path, ask, error)"
    )
    assert output_of(program, sandbox) == ""


def test_where_no_namespace_is_allowed_the_self_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if failure(Level.L2) is not None:
        pytest.skip("this machine has no L2")
    settings = Sandbox._settings
    monkeypatch.setattr(Sandbox, "_settings", lambda *a: {**settings(*a), "hide": False})
    notes: list[str] = []
    assert failure(Level.L2, notes) is None
    assert notes == ["foreign code may ask whether files exist, because it gets no mount namespace"]


def test_weak_machine_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Isolation(Level.L1, {Level.L2: "no Landlock"})
    monkeypatch.setattr(selftest, "detect", lambda: weak)
    with pytest.raises(SandboxUnavailableError, match=r"no Landlock.*minimum_level=L1"):
        open_sandbox(Level.L2)
    assert open_sandbox(Level.L1).level is Level.L1
    monkeypatch.setattr(selftest, "detect", lambda: Isolation(Level.L0))
    with pytest.raises(SandboxUnavailableError):
        open_sandbox(Level.L0)


def test_self_test_notices_an_open_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Landlock left out of L2, the self-test must refuse L2."""
    settings = Sandbox._settings

    def without_landlock(self: Sandbox, keep: list[int], files: list[str]) -> dict[str, object]:
        return {**settings(self, keep, files), "landlock": False, "hide": False}

    monkeypatch.setattr(Sandbox, "_settings", without_landlock)
    if failure(Level.L1) is not None:
        pytest.skip("this machine cannot run sandboxed programs")
    assert "read_outside" in (failure(Level.L2) or "")


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="wall_seconds=0"):
        Limits(wall_seconds=0)
