"""Function tasks, stdin/stdout tasks, extraction, and what check() refuses."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import pytest

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.code import CodeVerifier
from rlsd_pl.verifiers.code.blocks import LanguageBlock, RawText
from rlsd_pl.verifiers.code.output import same_output
from rlsd_pl.verifiers.sandbox import Level, detect, run_jobs

pytestmark = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

ADD = {"tests": ["assert add(1, 2) == 3", "assert add(5, 7) == 12"], "entry_point": "add"}


@pytest.fixture(scope="module")
def verifier() -> CodeVerifier:
    return CodeVerifier()


def problem(**metadata: Any) -> Problem:
    return Problem("p", [], metadata=metadata)


def fenced(program: str, language: str = "python") -> str:
    return f"Some words.\n```{language}\n{program}\n```\nMore words."


def judge(verifier: CodeVerifier, program: str, **metadata: Any) -> Verdict:
    return verifier.verify([fenced(program)], [problem(**(metadata or ADD))])[0]


def test_right_and_wrong_programs(verifier: CodeVerifier) -> None:
    right = judge(verifier, "def add(a, b): return a + b")
    assert (right.reward, right.status) == (1.0, Status.PASS)
    assert right.metrics == {"sandbox_level": float(detect().level)}
    assert set(right.metrics) == {"sandbox_level"}
    wrong = judge(verifier, "def add(a, b): return a - b")
    assert (wrong.reward, wrong.status) == (0.0, Status.FAIL)
    assert wrong.detail.startswith("wrong_answer: assert add(")


def test_bulk_verdicts_keep_their_order(verifier: CodeVerifier) -> None:
    programs = ["def add(a, b): return a + b", "def add(a, b): return 0", "x", "def add(a, b) return"]
    texts = [fenced(program) for program in programs] + ["no program at all", fenced("a = '\0'")]
    verdicts = verifier.verify(texts, [problem(**ADD)] * len(texts))
    assert [verdict.status.value for verdict in verdicts] == ["pass", "fail", "fail", "fail", "invalid", "invalid"]
    reasons = [verdict.detail.split(":")[0] for verdict in verdicts]
    assert reasons[2:] == ["program_raised", "syntax_error", "no_answer", "not_text"]
    assert verifier.verify([], []) == []


def test_all_plain_types_cross_both_ways(verifier: CodeVerifier) -> None:
    values = "[None, True, 1, 2.5, 'é', (1, [2]), {3, 4}, {(1, 2): {5}}, b'x', 1j, 10**50, frozenset({6})]"
    tests = f"for value in {values}:\n    got = same(value)\n    assert got == value and type(got) is type(value)"
    assert judge(verifier, "def same(x): return x", tests=tests, entry_point="same").status is Status.PASS


def test_keywords_defaults_and_state_between_calls(verifier: CodeVerifier) -> None:
    tests = "assert f(1, b=2) == (1, 2, 1)\ndef check(candidate):\n    assert candidate(b=4, a=3) == (3, 4, 2)"
    program = "n = 0\ndef f(a, b=0):\n    global n\n    n += 1\n    return a, b, n"
    assert judge(verifier, program, tests=tests, entry_point="f").status is Status.PASS


def test_builtin_exceptions_cross_by_type(verifier: CodeVerifier) -> None:
    tests = (
        "def raises(kind, x):\n    try: f(x)\n    except kind: return True\n    return False\n"
        "assert raises(ValueError, 1)\nassert raises(KeyError, 2)\nassert not raises(KeyError, 3)"
    )
    program = (
        "class Mine(ValueError): pass\n"
        "def f(x):\n    if x == 1: raise Mine('x')\n    if x == 2: return {}[x]\n    return x"
    )
    assert judge(verifier, program, tests=tests, entry_point="f").status is Status.PASS
    tests = "try: f()\nexcept BaseException: pass\nf"
    assert judge(verifier, "def f(): import os; os._exit(0)", tests=tests, entry_point="f").status is Status.FAIL


def test_arguments_are_copies(verifier: CodeVerifier) -> None:
    tests = "values = [3, 1]\nassert order(values) == [1, 3]\nassert values == [3, 1]"
    assert judge(verifier, "def order(x): x.sort(); return x", tests=tests, entry_point="order").status is Status.PASS


def test_neighbouring_asserts_are_shuffled(verifier: CodeVerifier) -> None:
    """Answers by call number fail although every expected value is known to the program."""
    tests = [f"assert f({i}) == {i * i + 7}" for i in range(12)]
    program = "answers = iter([i * i + 7 for i in range(12)])\ndef f(x): return next(answers)"
    assert judge(verifier, program, tests=tests, entry_point="f").status is Status.FAIL


def test_prompt_code_gives_helpers_to_both_sides(verifier: CodeVerifier) -> None:
    prompt = 'from typing import List\ndef twice(x): return 2 * x\ndef f(x: int) -> List[int]:\n    """Doc."""\n'
    metadata = {"tests": "assert f(3) == [twice(3)]", "entry_point": "f", "prompt_code": prompt}
    whole = CodeVerifier(RawText())
    assert whole.verify(["    return [twice(x)]\n"], [problem(**metadata)])[0].status is Status.PASS
    assert judge(verifier, "def f(x: int) -> List[int]:\n    return [x + x]", **metadata).status is Status.PASS


@pytest.mark.parametrize(
    ("text", "missing", "answer"),
    [
        (fenced("long = 1\n" * 50) + fenced("short"), None, "short"),
        (fenced("right") + fenced("ls", "sh"), None, "right"),
        (fenced("right", "Python3"), None, "right"),
        ("````python\na = '''\n```\n'''\n````", None, "a = '''\n```\n'''"),
        ("```\nplain\n```", "no_answer", None),
        ("```python\ncut off", "answer_unclosed", None),
        (fenced("in reasoning") + "</think> done", "answer_in_reasoning", None),
        (fenced(" "), "answer_empty", None),
        ("", "no_answer", None),
    ],
)
def test_last_closed_block_counts(text: str, missing: str | None, answer: str | None) -> None:
    found = LanguageBlock("python").extract(text)
    assert (found.missing, found.answer) == (missing, answer)


def test_stdin_tasks_compare_output(verifier: CodeVerifier) -> None:
    cases = {"stdin_tests": [["1 2\n", "3\n"], ["5 7\n", "12"]]}
    assert judge(verifier, "print(sum(map(int, input().split())))", **cases).status is Status.PASS
    assert judge(verifier, "print(3)", **cases).detail.startswith("wrong_output")
    assert judge(verifier, "import sys; print(3); sys.exit(7)", stdin_tests=[["", "3"]]).status is Status.PASS
    assert judge(verifier, "import sys; sys.exit(0)", **cases).status is Status.FAIL
    assert judge(verifier, "print('1.0000001')", stdin_tests=[["", "1"]]).status is Status.FAIL
    tolerant = {"stdin_tests": [["", "1"]], "float_tolerance": 1e-6}
    assert judge(verifier, "print('1.0000001')", **tolerant).status is Status.PASS


@pytest.mark.parametrize(
    ("printed", "expected", "tolerance", "same"),
    [
        ("a \nb\n\n", "a\nb", None, True),
        (" a", "a", None, False),
        ("a\n\nb", "a\nb", None, False),
        ("1.0", "1", None, False),
        ("x 1.05", "x 1.0", 0.1, True),
        ("y 1.05", "x 1.0", 0.1, False),
        ("1.2", "1.0", 0.1, False),
        ("nan", "1", 0.1, False),
        ("inf", "inf", 0.1, True),
        ("1 2", "1", 0.1, False),
    ],
)
def test_output_comparison(printed: str, expected: str, tolerance: float | None, same: bool) -> None:
    assert same_output(printed, expected, tolerance) is same


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "exactly one"),
        ({"tests": [], "entry_point": "f"}, "no tests"),
        ({"tests": " \n", "entry_point": "f"}, "no tests"),
        ({"tests": "assert f()", "entry_point": ""}, "entry_point"),
        ({"stdin_tests": []}, "no tests"),
        ({"stdin_tests": [["a"]]}, "pairs"),
        ({"stdin_tests": [["", ""]]}, "accept a stub"),
        ({"tests": "# assert f()", "entry_point": "f"}, "never call"),
        ({"tests": "def check(candidate): pass", "entry_point": "f"}, "never call"),
        ({"tests": "f(1)", "entry_point": "f"}, "accept a stub"),
        ({"tests": "assert f(1", "entry_point": "f"}, "tests_broken"),
        ({"tests": "assert f(len) == 1", "entry_point": "f"}, "argument_refused"),
        ({**ADD, "canonical_solution": "def add(a, b): return a"}, "does not pass"),
        ({"stdin_tests": [["", "1"]], "canonical_solution": "print(2)"}, "does not pass"),
    ],
)
def test_check_refuses(verifier: CodeVerifier, metadata: dict[str, Any], reason: str) -> None:
    assert reason in (verifier.check(problem(**metadata)) or "")


def test_check_accepts(verifier: CodeVerifier) -> None:
    good = {**ADD, "canonical_solution": "def add(a, b): return a + b"}
    assert verifier.check_all([problem(**good), problem(**ADD), problem()])[:2] == [None, None]


def test_task_without_tests_is_an_error_never_a_score(verifier: CodeVerifier) -> None:
    verdict = judge(verifier, "def add(a, b): return a + b", tests=[], entry_point="add")
    assert (verdict.reward, verdict.status) == (0.0, Status.ERROR)


def test_failures_of_the_verifier_itself_are_errors(verifier: CodeVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no processes left")

    monkeypatch.setattr("subprocess.Popen.__init__", fails)
    verdict = judge(verifier, "def add(a, b): return a + b")
    assert verdict.status is Status.ERROR
    assert "no processes left" in verdict.detail
    monkeypatch.undo()
    monkeypatch.setattr("rlsd_pl.verifiers.code.verifier.function_verdict", fails)
    assert judge(verifier, "def add(a, b): return a + b").status is Status.ERROR


CHECK = "assert check(2) == 4\nassert check(3) == 9"


@pytest.mark.parametrize(
    ("entry_point", "tests", "prompt_code"),
    [
        ("check", CHECK, ""),
        ("check", f"def test(candidate):\n    assert candidate(4) == 16\ntest(check)\n{CHECK}", ""),
        ("check", "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9", ""),
        ("square", "assert square(2) == 4\nassert square(3) == 9", "def check(a, b, c):\n    return a\n"),
        ("candidate", "assert candidate(2) == 4\nassert candidate(3) == 9", ""),
        ("Solution", "assert Solution(2) == 4\nassert Solution(3) == 9", ""),
    ],
)
def test_the_entry_point_may_have_any_name(
    verifier: CodeVerifier, entry_point: str, tests: str, prompt_code: str
) -> None:
    metadata = {"tests": tests, "entry_point": entry_point, "prompt_code": prompt_code}
    assert judge(verifier, f"def {entry_point}(x): return x * x", **metadata).detail == "passed"
    assert judge(verifier, f"def {entry_point}(x): return x + x", **metadata).status is Status.FAIL


@pytest.mark.parametrize("workers", [16, 32, 64, 128])
def test_thread_pools_have_room(verifier: CodeVerifier, workers: int) -> None:
    program = (
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        f"with ThreadPoolExecutor({workers}) as pool:\n"
        "    print(sum(pool.map(lambda x: time.sleep(0.001) or len(bytearray(100_000)) // 100_000, range(512))))"
    )
    assert judge(verifier, program, stdin_tests=[["", "512"]]).detail == "passed"
    body = program.split("\n")[2:]
    function = "\n".join(["import time", "from concurrent.futures import ThreadPoolExecutor", "def f(n):",
                          *("    " + line.replace("print", "return ") for line in body)])  # fmt: skip
    assert judge(verifier, function, tests="assert f(1) == 512", entry_point="f").detail == "passed"


def test_a_thread_has_a_stack_for_ordinary_recursion(verifier: CodeVerifier) -> None:
    """Through C at every level, to Python's own recursion limit."""
    program = (
        "import threading\nfrom functools import lru_cache\n@lru_cache(None)\ndef f(n): return n and 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(400)))\nt.start()\nt.join()"
    )
    assert judge(verifier, program, stdin_tests=[["", "400"]]).detail == "passed"


def test_the_program_is_the_answer_of_the_verdict(verifier: CodeVerifier) -> None:
    programs = ["def add(a, b): return a + b", "def add(a, b): return a", "def add(a, b): return 'x' * (1 << 23)",
                "def add(a, b) return"]  # fmt: skip
    texts = [fenced(program) for program in programs]
    verdicts = verifier.verify([*texts, "no block", "```python\ncut off"], [problem(**ADD)] * 6)
    assert [verdict.status.value for verdict in verdicts] == ["pass", "fail", "limit", "fail", "invalid", "invalid"]
    assert [verdict.answer for verdict in verdicts] == [*programs, None, None]


def test_equal_programs_run_once(verifier: CodeVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal programs of equal problems, whatever stands around them; not equal programs of different problems."""
    started = []
    monkeypatch.setattr("rlsd_pl.verifiers.code.verifier.run_jobs", _counting(started))
    program = "def add(a, b): return a + b"
    texts = [fenced(program), "Other words." + fenced(program), fenced(program), fenced(program + " ")]
    problems = [problem(**ADD), problem(**ADD), Problem("other", [], metadata=ADD), problem(**ADD)]
    assert [verdict.reward for verdict in verifier.verify(texts, problems)] == [1.0] * 4
    assert len(started) == 3


def _counting(started: list[Any]) -> Any:
    def counted(jobs: list[Any], *arguments: Any) -> list[Any]:
        started.extend(jobs)
        return run_jobs(jobs, *arguments)

    return counted


TESTS = "assert sign(3) == 1\nassert sign(-2) == -1\nassert sign(0) == 0\nassert sign(-9) == -1"
CASES = [["3", "1"], ["-2", "-1"], ["0", "0"], ["-9", "-1"]]


@pytest.mark.parametrize(
    ("body", "share", "status"),
    [
        ("1 if x > 0 else -1 if x < 0 else 0", 1.0, "pass"),
        ("1 if x > 0 else -1", 0.75, "fail"),
        ("-1", 0.5, "fail"),
        ("7", 0.0, "fail"),
        ("1 // x if x in (0, 3) else -1", 0.5, "fail"),  # raises at 0, and 1 // 3 is 0
    ],
)
def test_partial_credit_is_the_share_of_tests_passed(body: str, share: float, status: str) -> None:
    verifier = CodeVerifier(partial_credit=True)
    function, script = f"def sign(x): return {body}", f"x = int(input())\nprint({body})"
    for program, metadata in (
        (function, {"tests": TESTS, "entry_point": "sign"}),
        (function, {"tests": "def check(sign):\n" + indent(TESTS, "    "), "entry_point": "sign"}),
        (script, {"stdin_tests": CASES}),
    ):
        verdict = judge(verifier, program, **metadata)
        assert (verdict.reward, verdict.status.value) == (share, status), (metadata, verdict.detail)
        assert verdict.metrics["tests_passed"] == share
    assert set(verdict.metrics) == {"sandbox_level", "tests_passed"}


@pytest.mark.parametrize(
    ("program", "status"),
    [("def sign(x):\n    if x: return 1 if x > 0 else -1\n    import os; os._exit(0)", "fail"),
     ("def sign(x): raise SystemExit", "fail"), ("import os; os._exit(0)", "fail"), ("x", "fail"),
     ("def sign(x): return 'x' * (1 << 23)", "limit")],
)  # fmt: skip
def test_partial_credit_needs_tests_that_ran_to_their_end(program: str, status: str) -> None:
    """Else a program could leave in the middle of a loop of asserts and keep what it has."""
    verdict = judge(CodeVerifier(partial_credit=True), program, tests=TESTS, entry_point="sign")
    assert (verdict.reward, verdict.status.value) == (0.0, status)


def test_without_partial_credit_one_failed_test_is_zero(verifier: CodeVerifier) -> None:
    wrong = "def sign(x): return 1 if x > 0 else -1"
    assert judge(verifier, wrong, tests=TESTS, entry_point="sign").reward == 0
    assert judge(verifier, "x = int(input())\nprint(1 if x > 0 else -1)", stdin_tests=CASES).reward == 0


@pytest.mark.parametrize(
    "metadata", [{"tests": [1, 2], "entry_point": "f"},
                 {"tests": "assert f()", "entry_point": "f", "prompt_code": ["a"]},
                 {"stdin_tests": [["", "1"]], "float_tolerance": "x"}, {"stdin_tests": 3}],
)  # fmt: skip
def test_a_row_of_the_wrong_types_is_an_error_of_that_row(verifier: CodeVerifier, metadata: dict[str, Any]) -> None:
    verdicts = verifier.verify([fenced("def add(a, b): return a + b")] * 2, [problem(**metadata), problem(**ADD)])
    assert [verdict.status for verdict in verdicts] == [Status.ERROR, Status.PASS]
