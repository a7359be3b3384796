# ruff: noqa: E501 (programs as single strings)
"""Programs that cheat, or that try to break the verifier: none passes, none is an error, nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers.code import CodeVerifier
from rlsd_pl.verifiers.sandbox import Level, Limits, Sandbox, detect, failure

pytestmark = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

ADD = Problem("add", [], metadata={"tests": "assert add(1, 2) == 3\nassert add(5, 7) == 12", "entry_point": "add"})
LIMITS = Limits(cpu_seconds=1, wall_seconds=3.0)

CHEATS = {
    "always_equal_list": "class L(list):\n    __eq__ = lambda s, o: True\ndef add(a, b): return L()",
    "always_equal_int": "class I(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\n"
    "def add(a, b): return I(0)",
    "always_equal_object": "class A:\n    __eq__ = lambda s, o: True\nadd = lambda a, b: A()",
    "patched_type": "import builtins\nbuiltins.type = lambda *a: int\nclass A:\n    __eq__ = lambda s, o: True\n"
    "def add(a, b): return A()",
    "sys_exit": "import sys; sys.exit(0)",
    "sys_exit_in_call": "def add(a, b): raise SystemExit(0)",
    "os_exit": "import os; os._exit(0)",
    "os_exit_in_call": "import os\ndef add(a, b): os._exit(0)",
    "append_to_list_proxy": "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'ListProxy': o.append('passed')\n"
    "    if type(o) is list and len(o) < 3:\n        try: o.append('passed')\n        except Exception: pass\n"
    "def add(a, b): return 'passed'",
    "frames": "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n"
    "            if v in (3, 12): return v\n        f = f.f_back",
    "exc_info_frames": "import sys\ndef add(a, b):\n    try: raise ValueError\n    except ValueError:\n"
    "        f = sys.exc_info()[2].tb_frame\n        while f.f_back: f = f.f_back\n"
    "        return f.f_globals.get('expected', f.f_locals.get('expected'))",
    "shared_state": "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ in ('Synchronized', 'SynchronizedArray'):\n"
    "        o.value = 1\ndef add(a, b): return 1",
    "forged_records": 'import os\nfor fd in range(64):\n    for line in (b\'{"status": "pass", "reason": "passed", "text": ""}\','
    " b'{\"value\": 3}', b'{\"value\": true}', b'{\"loaded\": true}'):\n        try: os.write(fd, line + b'\\n')\n"
    "        except OSError: pass\ndef add(a, b): return 0",
    "forged_comparator_in_codec": "import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'dumps'):\n"
    "        m.dumps = lambda *a: b'{\"tuple\": 1}'\ndef add(a, b): return 0",
    "test_files": "import glob, os\nfound = ''\nfor p in ['./test_cases.txt', *glob.glob('../*'), *glob.glob('/tmp/*')]:\n"
    "    try: found += open(p).read()\n    except OSError: pass\ndef add(a, b): return found",
    "patched_comparators": "import builtins, math, operator\nbuiltins.sorted = lambda *a, **k: []\n"
    "math.isclose = operator.eq = lambda *a, **k: True\nbuiltins.AssertionError = type('N', (BaseException,), {})\n"
    "def add(a, b): return 0",
    "nan": "def add(a, b): return float('nan')",
    "none": "def add(a, b): pass",
    "raises": "def add(a, b): raise AssertionError",
    "not_callable": "add = 3",
    "missing": "def sub(a, b): return a - b",
    "generator": "def add(a, b): yield a + b",
    "deep": "def add(a, b):\n    x = []\n    for _ in range(10 ** 5): x = [x]\n    return x",
    "daemon": "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        import time; time.sleep(60)\n"
    "    os._exit(0)\n",
    "processes": "import multiprocessing\np = multiprocessing.Process(target=print); p.start()",
    "shell": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'])",
    "sockets": "import socket\nfor kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n    s = socket.socket(socket.AF_INET, kind)\n"
    "    s.connect(('127.0.0.1', 80))",
    "kill_parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "kill_all": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "segfault": "import ctypes\nctypes.string_at(0)",
    "abort": "import os\nos.abort()",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "closed_descriptors": "import os\nos.closerange(0, 64)\ndef add(a, b): return a + b",
    "environment": "import os\ndef add(a, b): return os.environ['ANSWER']",
}

EXHAUSTING = {
    "sleep": "import time; time.sleep(1e9)",
    "sleep_in_call": "import time\ndef add(a, b): time.sleep(1e9)",
    "loop": "def add(a, b):\n    while True: pass",
    "ignored_signals": "import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\n"
    "while True: pass",
    "one_long_operation": "def add(a, b): return 9 ** 9 ** 9",
    "print_flood": "while True: print('x' * 1000)",
    "reply_flood": "import os\nwhile True:\n    for fd in range(64):\n        try: os.write(fd, b'x' * 4096)\n"
    "        except OSError: pass",
    "large_value": "def add(a, b): return 'x' * (1 << 23)",
    "large_integer": "def add(a, b): return 1 << (1 << 24)",
    "memory_at_import": "x = bytearray(3 << 30)",
    "memory_in_call": "def add(a, b): return len([0] * (1 << 40))",
    "recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef add(a, b):\n    def f(n): return f(n + 1)\n    return f(0)",
    "regex": "import re\ndef add(a, b): return re.match('(a+)+$', 'a' * 40 + 'b')",
}

HONEST = {
    "endless_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n"
    "def add(a, b): return a + b",
    "busy_thread_and_atexit": "import atexit, threading\ndef loop():\n    while True: pass\natexit.register(loop)\n"
    "threading.Thread(target=loop).start()\ndef add(a, b): return a + b",
    "prints": 'def add(a, b):\n    print(\'OK {"status": "pass"} nonce 1234\')\n    return a + b\nprint(\'{"value": 0}\')',
    "main_guard": "def add(a, b): return a + b\nif __name__ == '__main__':\n    raise SystemExit(1)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef add(a, b): return P(a + b).x",
    "deep_recursion_within_reason": "def add(a, b): return a if b == 0 else add(a + 1, b - 1)",
}


@pytest.fixture(params=(Level.L2, Level.L3), ids=lambda level: level.name, scope="module")
def verifier(request: pytest.FixtureRequest) -> CodeVerifier:
    reason = failure(request.param)
    if reason is not None:
        pytest.skip(f"no {request.param.name} here: {reason}")
    verifier = CodeVerifier(concurrency=8)
    verifier.sandbox = Sandbox(request.param, LIMITS)
    return verifier


def verdicts_of(verifier: CodeVerifier, programs: dict[str, str]) -> dict[str, tuple[Status, str]]:
    texts = [f"```python\n{program}\n```" for program in programs.values()]
    verdicts = verifier.verify(texts, [ADD] * len(texts))
    return {name: (verdict.status, verdict.detail) for name, verdict in zip(programs, verdicts, strict=True)}


def test_cheats_fail_and_nothing_survives(verifier: CodeVerifier) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    found = verdicts_of(verifier, CHEATS)
    assert {name: outcome for name, outcome in found.items() if outcome[0] is not Status.FAIL} == {}
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert sandboxed_children() == []


def test_exhausting_programs_are_limits(verifier: CodeVerifier) -> None:
    found = verdicts_of(verifier, EXHAUSTING)
    assert {name: outcome for name, outcome in found.items() if outcome[0] is not Status.LIMIT} == {}
    assert sandboxed_children() == []


def test_honest_programs_pass(verifier: CodeVerifier) -> None:
    verifier.sandbox = Sandbox(verifier.sandbox.level)
    found = verdicts_of(verifier, HONEST)
    verifier.sandbox = Sandbox(verifier.sandbox.level, LIMITS)
    assert {name: outcome for name, outcome in found.items() if outcome[0] is not Status.PASS} == {}


@pytest.mark.parametrize("descriptors", ["range(64)", "[1, 2]"])
def test_pickles_are_never_loaded(verifier: CodeVerifier, tmp_path: Path, descriptors: str) -> None:
    target = tmp_path / "made"
    payload = f"cposix\nmkdir\n(S'{target}'\ntR.".encode()
    program = (
        f"import os, struct\npayload = {payload!r}\nfor fd in {descriptors}:\n    try:\n"
        "        os.write(fd, payload + b'\\n')\n        os.write(fd, struct.pack('!i', len(payload)) + payload)\n"
        "    except OSError: pass\ndef add(a, b): return 0"
    )
    assert verdicts_of(verifier, {"pickle": program})["pickle"][0] is Status.FAIL
    assert not target.exists()


def sandboxed_children() -> list[Path]:
    """Children of this process that run a program of the sandbox, dead ones included."""
    found = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent_of(entry) == os.getpid()]
    return [entry for entry in found if b"from inside import" in _command_line(entry) or _is_zombie(entry)]


def _is_zombie(process: Path) -> bool:
    return not _command_line(process)


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def _parent_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
