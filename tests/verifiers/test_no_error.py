# ruff: noqa: E501 (programs as single strings)
"""No program makes its own verdict ``error``, which would take the sample out of the loss."""

from __future__ import annotations

import platform

import pytest

from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers import CodeVerifier
from rlsd_pl.verifiers.code.verdicts import stopped
from rlsd_pl.verifiers.sandbox import Finished, Level, Limits, Run, Sandbox, Stop, detect, failure, run

isolated = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "amd64"), reason="system call numbers of x86-64")

ADD = Problem("add", [], metadata={"tests": "assert add(1, 2) == 3", "entry_point": "add"})
PRINT = Problem("print", [], metadata={"stdin_tests": [["", "3"]]})
LIMITS = Limits(cpu_seconds=1, wall_seconds=4.0)

RAW = "import ctypes, os, struct\nlibc = ctypes.CDLL(None, use_errno=True)\ncall = libc.syscall\ncall.restype = ctypes.c_long\n"
SPIN = "\nwhile True: pass"
PAIR = "import fcntl, os, socket\na, b = socket.socketpair()\nfd = a.fileno()\n"
ASYNC = "\nfcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)\nb.send(b'x')"
SIGNALLING = {
    "cpu limit": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
    "cpu limit of zero": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))",
    "prlimit of this process": "import resource\nresource.prlimit(0, resource.RLIMIT_CPU, (0, 1))",
    "prlimit by process id": "import os, resource\nresource.prlimit(os.getpid(), resource.RLIMIT_CPU, (0, 1))",
    "real-time limit": "import resource\nresource.setrlimit(15, (0, 0))",
    "data limit": "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (0, 0))",
    "raw setrlimit": RAW + "call(160, 0, struct.pack('QQ', 0, 0))",
    "raw prlimit64": RAW + "call(302, 0, 0, struct.pack('QQ', 0, 1), None)",
    "raw prlimit64, high half of the number": RAW + "call(302, 1 << 32, 0, struct.pack('QQ', 0, 1), None)",
    "timer with SIGKILL": RAW + "timer = ctypes.c_int()\n"
    "call(222, 1, struct.pack('qii48x', 0, 9, 0), ctypes.byref(timer))\n"
    "call(223, timer, 0, struct.pack('qqqq', 0, 0, 0, 1), None)",
    "timer of the C library": "import ctypes\nlib = ctypes.CDLL(None)\ntimer = ctypes.c_void_p()\nimport struct\n"
    "lib.timer_create(1, struct.pack('qii48x', 0, 9, 0), ctypes.byref(timer))\n"
    "lib.timer_settime(timer, 0, struct.pack('qqqq', 0, 0, 0, 1), None)",
    "signal of a socket": PAIR + "fcntl.fcntl(fd, 10, 9)\nfcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())" + ASYNC,
    "signal of a socket, owner first": PAIR + "fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())\nfcntl.fcntl(fd, 10, 9)" + ASYNC,
    "owner by structure": PAIR + "import struct\nfcntl.fcntl(fd, 15, struct.pack('ii', 1, os.getpid()))\n"
    "fcntl.fcntl(fd, 10, 9)" + ASYNC,
    "owner by ioctl": PAIR + "import struct\nfcntl.ioctl(fd, 0x8901, struct.pack('i', os.getpid()))\n"
    "fcntl.fcntl(fd, 10, 9)" + ASYNC,
    "signal of the parent": PAIR + "fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid())\nfcntl.fcntl(fd, 10, 9)" + ASYNC,
    "kill": "import os\nos.kill(os.getpid(), 9)",
    "kill the group": "import os\nos.killpg(0, 9)",
    "raise": "import signal\nsignal.raise_signal(signal.SIGKILL)",
    "kill a thread": "import signal, threading\nsignal.pthread_kill(threading.get_ident(), 9)",
    "queue": RAW + "call(129, os.getpid(), 9, struct.pack('iii116x', 9, 0, -1))",
    "pidfd": RAW + "call(424, call(434, os.getpid(), 0), 9, None, 0)",
    "parent death signal": "import ctypes\nctypes.CDLL(None).prctl(1, 9, 0, 0, 0)",
    "a filter of its own": RAW + "program = struct.pack('HBBI', 6, 0, 0, 0x80000000)\nheld = ctypes.create_string_buffer(program)\n"
    "ctypes.CDLL(None).prctl(22, 2, struct.pack('HxxxxxxQ', 1, ctypes.addressof(held)), 0, 0)",
    "one of the other architecture": "import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\n"
    "page.write(b'\\xb8\\x25\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
    "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
    "exit code of SIGKILL": "import os\nos._exit(137)",
    "exit with it": "import sys\nsys.exit(137)",
    "alarm": "import signal\nsignal.alarm(1)\nsignal.pause()",
    "interval timer": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
    "out of memory": "held = []\nwhile True: held.append(bytearray(1 << 20))",
    "thousands of threads": "import threading, time\nthreading.stack_size(32768)\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(99,)).start()\n    except RuntimeError: pass",
}  # fmt: skip


@pytest.fixture(params=(Level.L2, Level.L3), ids=lambda level: level.name, scope="module")
def verifier(request: pytest.FixtureRequest) -> CodeVerifier:
    reason = failure(request.param)
    if reason is not None:
        pytest.skip(f"no {request.param.name} here: {reason}")
    verifier = CodeVerifier(concurrency=8)
    verifier.sandbox = Sandbox(request.param, LIMITS)
    return verifier


@isolated
@x86
@pytest.mark.parametrize("form", ["{}", "{}" + SPIN, "def add(a, b):\n    {}\n    while True: pass"])
def test_no_program_makes_its_verdict_an_error(verifier: CodeVerifier, form: str) -> None:
    programs = {name: form.format(program.replace("\n", "\n    ") if "def" in form else program)
                for name, program in SIGNALLING.items()}  # fmt: skip
    texts = [f"```python\n{program}\n```" for program in programs.values()]
    verdicts = verifier.verify(texts + texts, [ADD] * len(texts) + [PRINT] * len(texts))
    found = {
        (name, n // len(texts)): (v.status, v.detail)
        for n, (name, v) in enumerate(zip([*programs] * 2, verdicts, strict=True))
    }
    assert {key: seen for key, seen in found.items() if seen[0] not in (Status.FAIL, Status.LIMIT)} == {}


@isolated
@x86
@pytest.mark.parametrize(
    "name", [name for name in SIGNALLING if "limit" in name or "timer" in name or "socket" in name or "owner" in name]
)
def test_the_calls_themselves_are_refused(verifier: CodeVerifier, name: str) -> None:
    """A right answer after the attempt still passes: nothing came of it."""
    if name == "interval timer":
        pytest.skip("allowed: its signals are those of a crash, which is judged")
    attempt = SIGNALLING[name].replace("\n", "\n    ")
    text = f"```python\ntry:\n    {attempt}\nexcept (OSError, ValueError): pass\nprint(3)\n```"
    (verdict,) = verifier.verify([text], [PRINT])
    assert verdict.status is Status.PASS, verdict.detail


@isolated
def test_the_stack_may_grow(verifier: CodeVerifier) -> None:
    program = "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (64 << 20, -1))\nsys.setrecursionlimit(10 ** 6)\nprint(3)"
    assert verifier.verify([f"```python\n{program}\n```"], [PRINT])[0].status is Status.PASS


def test_five_early_kills_are_a_limit() -> None:
    verdict = stopped(Finished(Stop.KILLED, message="5 times, before any limit"))
    assert verdict is not None
    assert (verdict.status, verdict.detail) == (Status.LIMIT, "killed: 5 times, before any limit")


@isolated
@pytest.mark.parametrize("code", [0, 1, 7, 130, 200, 255])
def test_exit_codes_are_ignored(verifier: CodeVerifier, code: int) -> None:
    """Also those that a shell would read as a signal, where that signal does not exist."""
    found = run(_script(f"import os\nprint(3, flush=True)\nos._exit({code})"), verifier.sandbox)
    if verifier.sandbox.level is Level.L3 and code == 130:
        assert found.signal == 2  # bubblewrap tells no difference
    else:
        assert found.signal is None


def _script(program: str) -> Run:
    source = program.encode()
    return Run("script", b"%d\n" % len(source) + source)
