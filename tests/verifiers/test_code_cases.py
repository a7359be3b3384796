# ruff: noqa: E501 (programs as single strings)
"""The adversarial cases for code, and HumanEval's own solutions; both need the shared data folder."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers.code import CodeVerifier
from rlsd_pl.verifiers.code.blocks import RawText
from rlsd_pl.verifiers.sandbox import Level, Limits, Sandbox, detect

pytestmark = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

ADD = {"tests": "assert add(1, 2) == 3\nassert add(5, 7) == 12", "entry_point": "add"}
RIGHT = "def add(a, b): return a + b\n"
PROGRAMS = {
    "C03": "import sys; sys.exit(0)",
    "C06": "import sys\ntry: raise ValueError\nexcept ValueError: f = sys.exc_info()[2].tb_frame\n"
    "while f.f_back: f = f.f_back\nadd = lambda a, b: f.f_locals['expected']",
    "C09": "import os\nfor fd in range(3, 40):\n    try: os.write(fd, b\"cposix\\nmkdir\\n(S'/tmp/evil'\\ntR.\")\n"
    "    except OSError: pass\ndef add(a, b): return 0",
    "C10": RIGHT,
    "C11": "import glob\nfor p in ['./test_cases.txt', *glob.glob('../*')]:\n    try: print(open(p).read())\n"
    "    except OSError: pass\ndef add(a, b): return open('./test_cases.txt').read()",
    "C13": "import time; time.sleep(1e9)",
    "C15": "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass\n    os._exit(0)",
    "C16": "while True: print('x' * 1000)",
    "C17": "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n"
    "socket.create_connection(('127.0.0.1', 9))",
    "C19": "import builtins, sys, types\nsys.modules['numpy'] = n = types.ModuleType('numpy')\n"
    "n.allclose = lambda *a, **k: True\nbuiltins.sorted = lambda *a, **k: []\ndef add(a, b): return 0",
    "C20": "print('1.0000001')",
    "C21": RIGHT + "import atexit, threading, time\nthreading.Thread(target=time.sleep, args=(1e5,)).start()\n"
    "def loop():\n    while True: pass\natexit.register(loop)",
    "C22": RIGHT + "print('OK'); print('{\"status\": \"pass\"}'); print('9f8e7d6c nonce')",
    "C24": "def add(a, b): return float('nan')",
    "C25": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1)\ndef add(a, b): return f(0)",
}
TEXTS = {name: f"```python\n{program}\n```" for name, program in PROGRAMS.items()} | {
    "C23": "First try:\n```python\ndef add(a, b):\n" + "    a = a + 0\n" * 30 + "    return a\n```\n"
    f"Better:\n```python\n{RIGHT}```"
}
METADATA = {"C10": {**ADD, "tests": []}, "C20": {"stdin_tests": [["", "1"]]}}


def rows(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()]


def test_every_adversarial_case_gets_its_status(data: Path) -> None:
    cases = [case for case in rows(data / "verifier_cases.jsonl") if case["area"] == "code"]
    verifier = CodeVerifier(concurrency=4)
    verifier.sandbox = Sandbox(verifier.sandbox.level, Limits(cpu_seconds=1, wall_seconds=4.0))
    problems = [Problem(case["id"], [], metadata=METADATA.get(case["id"], ADD)) for case in cases]
    verdicts = verifier.verify([TEXTS[case["id"]] for case in cases], problems)
    found = {case["id"]: verdict.status.value for case, verdict in zip(cases, verdicts, strict=True)}
    assert found == {case["id"]: case["expected"] for case in cases}
    assert not Path("/tmp/evil").exists()


@pytest.fixture(scope="module")
def human_eval(data: Path) -> list[Problem]:
    return [
        Problem(
            row["task_id"],
            [],
            metadata={
                "tests": row["test"],
                "entry_point": row["entry_point"],
                "prompt_code": row["prompt"],
                "canonical_solution": row["canonical_solution"],
            },
        )
        for row in rows(data / "humaneval.jsonl.gz")
    ]


def test_all_human_eval_solutions_pass(human_eval: list[Problem]) -> None:
    problems = human_eval
    verdicts = CodeVerifier(RawText()).verify([p.metadata["canonical_solution"] for p in problems], problems)
    failures = {p.id: v.detail for p, v in zip(problems, verdicts, strict=True) if v.status is not Status.PASS}
    assert (len(problems), failures) == (164, {})


@pytest.mark.slow
@pytest.mark.parametrize("body", ["    pass\n", "    return None\n", "    raise ValueError\n", "    return 0\n", " "])
def test_no_empty_or_wrong_body_passes_human_eval(human_eval: list[Problem], body: str) -> None:
    verdicts = CodeVerifier(RawText()).verify([body] * len(human_eval), human_eval)
    assert {v.status for v in verdicts} <= {Status.FAIL, Status.INVALID}


def test_wrong_bodies_fail_a_sample_of_human_eval(human_eval: list[Problem]) -> None:
    problems = human_eval[::20] * 2
    bodies = ["    pass\n", "    raise ValueError\n"]
    texts = [bodies[i % 2] for i in range(len(problems))]
    assert {v.status for v in CodeVerifier(RawText()).verify(texts, problems)} == {Status.FAIL}


@pytest.mark.slow
def test_check_accepts_all_of_human_eval(human_eval: list[Problem]) -> None:
    assert set(CodeVerifier(RawText()).check_all(human_eval)) == {None}
