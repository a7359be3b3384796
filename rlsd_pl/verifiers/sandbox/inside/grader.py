"""The trusted side of a function task: runs the tests unchanged, with the entry point bound to a proxy.

The model's code is in another process; what comes back is data of a few plain types. The verdict is one JSON line on
stdout. The tests come from a data set that somebody published, so this process is confined as well.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import random
import sys
from typing import Any, NoReturn

from . import lockdown, wire

MAX_TEXT = 200
_READY_BYTES = 64
_TALLY = "__tally__"


class Decision(BaseException):
    """Ends the tests with a verdict. Not an ``Exception``, so that tests which expect one do not swallow it."""

    def __init__(self, status: str, reason: str, text: str = "") -> None:
        super().__init__(status, reason, text)


class Solution:
    """The entry point as the tests see it."""

    def __init__(self, requests: int, replies: int, value_bytes: int) -> None:
        self._requests = os.fdopen(requests, "wb")
        self._replies = os.fdopen(replies, "rb")
        self._value_bytes = value_bytes
        self.calls = 0
        self.stopped: Decision | None = None

    def load(self, job: dict[str, Any]) -> None:
        """Hand the program over; raises :class:`Decision` unless it loads and defines the entry point."""
        if self._replies.readline(_READY_BYTES) != b'{"ready": true}\n':
            self._stop("error", "sandbox_failed", "the solution process did not start")
        keys = ("program", "entry_point", "value_bytes")
        self._send(json.dumps({key: job[key] for key in keys}).encode())
        reply = self._receive()
        if "missing" in reply:
            self._stop("fail", "entry_point_missing", f"the program defines no function {job['entry_point']!r}")
        if "raised" in reply:
            name = str(reply["raised"])[:MAX_TEXT]
            reason = "syntax_error" if name in ("SyntaxError", "IndentationError", "TabError") else "program_raised"
            self._stop("fail", reason, f"{name} while loading the program")

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """One call across the boundary: arguments are copied, so changes in place are not seen here."""
        self.calls += 1
        try:
            request = wire.dumps((list(arguments), keywords), self._value_bytes)
        except wire.WireError as error:
            # once a value has come back, the model may have a hand in the argument: no longer the task's fault alone
            status = "error" if self.calls == 1 else "fail"
            self._stop(status, "argument_refused", f"an argument in the tests is or holds: {error}")
        self._send(request)
        reply = self._receive()
        if "raised" in reply:
            raise _exception(reply["raised"])
        if "value" not in reply:
            self._stop("fail", "malformed_reply")
        return reply["value"]

    def _send(self, line: bytes) -> None:
        try:
            self._requests.write(line + b"\n")
            self._requests.flush()
        except OSError:
            self._stop("fail", "solution_died")

    def _receive(self) -> dict[str, Any]:
        cap = self._value_bytes + 64
        line = self._replies.readline(cap + 1)
        if not line:
            self._stop("fail", "solution_died")
        if len(line) > cap:
            self._stop("limit", "value_size", f"a reply of more than {cap} bytes")
        reply = self._decode(line)
        if "limit" in reply:
            self._stop("limit", str(reply["limit"])[:MAX_TEXT])
        if "refused" in reply:
            self._stop("fail", "value_refused", f"the returned value is or holds: {str(reply['refused'])[:MAX_TEXT]}")
        return reply

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(line)
            if isinstance(reply, dict) and "value" in reply:
                reply["value"] = wire.decode(reply["value"])
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            self._stop("fail", "malformed_reply")
        return reply

    def _stop(self, status: str, reason: str, text: str = "") -> NoReturn:
        self.stopped = Decision(status, reason, text)
        raise self.stopped


def _exception(name: Any) -> Exception:
    """The exception that a call raised: the builtin type, without its message."""
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return RuntimeError(f"the solution raised {str(name)[:MAX_TEXT]}")
    try:
        return kind()
    except TypeError:  # UnicodeDecodeError and its kin need arguments
        return RuntimeError(f"the solution raised {kind.__name__}")


class Tally:
    """Counts asserts and lets the tests go on after one that fails: ``with tally: assert ...``."""

    def __init__(self) -> None:
        self.passed = self.total = 0
        self.done = False
        self.first: BaseException | None = None

    def __enter__(self) -> None:
        self.total += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        self.passed += error is None
        if not isinstance(error, Exception) or isinstance(error, MemoryError):
            return False
        self.first = self.first or error
        return True


class _Rewrite(ast.NodeTransformer):
    """Neighbouring asserts change places, so that an answer by call number does not pay; ``tallied`` counts each."""

    def __init__(self, seed: int, tallied: bool) -> None:
        self._random, self._tallied = random.Random(seed), tallied

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        if not self._tallied:
            return node
        guard = ast.withitem(ast.Name(_TALLY, ast.Load()))
        return ast.fix_missing_locations(ast.copy_location(ast.With([guard], [node]), node))

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = self._shuffled(body)  # pyright: ignore[reportAttributeAccessIssue]
        return node

    def _shuffled(self, body: list[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        run: list[ast.stmt] = []
        for statement in [*body, None]:
            if isinstance(statement, ast.Assert) or _is_tallied(statement):
                run.append(statement)
                continue
            self._random.shuffle(run)
            result += run
            run = []
            if statement is not None:
                result.append(statement)
        return result


def _is_tallied(node: ast.stmt | None) -> bool:
    guard = node.items[0].context_expr if isinstance(node, ast.With) else None
    return isinstance(guard, ast.Name) and guard.id == _TALLY


def _prepare(job: dict[str, Any], solution: Solution, tally: Tally) -> tuple[Any, dict[str, Any]]:
    """The compiled tests and their namespace; what fails here is the task's fault."""
    namespace: dict[str, Any] = {"__name__": "tests", _TALLY: tally}
    tree = _Rewrite(job["seed"], job["every_test"]).visit(ast.parse(job["tests"], "<tests>"))
    code = compile(tree, "<tests>", "exec")
    exec(compile(job["prompt_code"], "<prompt>", "exec"), namespace)
    namespace.update({job["entry_point"]: solution, "candidate": solution})
    return code, namespace


def _grade(job: dict[str, Any], solution: Solution, tally: Tally) -> None:
    """Raises :class:`Decision` unless every test passes; the tally is complete once ``tally.done`` is set."""
    try:
        code, namespace = _prepare(job, solution, tally)
    except Exception as error:
        raise Decision("error", "tests_broken", f"{type(error).__name__}: {error}"[:MAX_TEXT]) from None
    solution.load(job)
    others = namespace.get("check")  # of the prompt, or the solution itself: not HumanEval's
    try:
        exec(code, namespace)
        check = namespace.get("check")
        if check is not others and callable(check):
            check(solution)
    except MemoryError:
        raise Decision("limit", "memory", "the tests ran out of memory on a returned value") from None
    except AssertionError as error:
        raise Decision("fail", "wrong_answer", _failed_line(job["tests"], error)) from None
    except Exception as error:
        text = f"{type(error).__name__} in: {_failed_line(job['tests'], error)}"
        raise Decision("fail", "test_raised", text) from None
    if solution.calls == 0:
        raise Decision("error", "tests_empty", "the tests never call the entry point")
    tally.done = True
    if tally.first is not None:
        raise Decision("fail", "wrong_answer", _failed_line(job["tests"], tally.first))


def _failed_line(tests: str, error: BaseException) -> str:
    trace, number = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return lines[number - 1].strip()[:MAX_TEXT] if 0 < number <= len(lines) else ""


def main() -> None:
    """Judge one program; the descriptors of the solution's requests and replies are in the settings."""
    chosen = lockdown.settings()
    lockdown.enter()
    job: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    solution = Solution(*chosen["keep"], value_bytes=job["value_bytes"])
    tally = Tally()
    try:
        _grade(job, solution, tally)
        verdict = Decision("pass", "passed")
    except Decision as stop:
        verdict = stop
    except BaseException as error:  # SystemExit in the tests, for example
        verdict = Decision("fail", "test_raised", type(error).__name__)
    status, reason, text = (solution.stopped or verdict).args
    share = tally.passed / tally.total if tally.done and tally.total else float(status == "pass")
    os.write(1, json.dumps({"status": status, "reason": reason, "text": text, "share": share}).encode() + b"\n")
    os._exit(0)
