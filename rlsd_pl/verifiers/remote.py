"""A SandboxFusion-compatible HTTP service as a verifier of code. Its own failures are ``error``, never a score."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.code.tasks import refuse_program
from rlsd_pl.verifiers.extraction import ExtractionRule, FencedBlock
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, limited, passed, refusal

MAX_CODE_CHARACTERS = 65_536
_MAX_REPLY_BYTES = 1 << 20

Program = Callable[[str, Problem], str]
"""(the model's code, problem) -> the program that the service runs."""


class RemoteError(RuntimeError):
    """The service did not give a usable reply."""


class RemoteVerifier(Verifier):
    """Passes a completion whose program ends with exit code 0 on the service's ``/run_code``.

    A verdict by exit code is as strong as the program: code that leaves early with 0 passes its own asserts. Prefer
    :class:`~rlsd_pl.verifiers.code.CodeVerifier`, and use this one where isolation must be on another machine.

    Args:
        url: base address of the service, ``http://`` or ``https://``.
        language: the service's name of the language.
        program: builds the program to run; by default the code followed by ``problem.metadata["tests"]``.
        rule: where the code stands.
        run_seconds: the service's limit for one program. The HTTP request waits ``grace_seconds`` longer.
        grace_seconds: time for the service's queue and start-up.
        concurrency: requests in flight.
    """

    def __init__(
        self,
        url: str,
        language: str = "python",
        program: Program | None = None,
        rule: ExtractionRule | None = None,
        run_seconds: float = 10.0,
        grace_seconds: float = 20.0,
        concurrency: int = 8,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"got url={url!r}, expected http:// or https://; set the address of the service")
        self.url = url.rstrip("/") + "/run_code"
        self.language = language
        self.program = program or code_then_tests
        self.rule = rule or FencedBlock()
        self.instruction = self.rule.instruction
        self.run_seconds = run_seconds
        self.grace_seconds = grace_seconds
        self.concurrency = concurrency

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        # Threads wait on sockets with a timeout here; no model text is computed on in them.
        with ThreadPoolExecutor(self.concurrency) as threads:
            return list(threads.map(self._judge, texts, problems))

    def check(self, problem: Problem) -> str | None:
        """With the default program, there must be tests to run."""
        if self.program is code_then_tests and not str(problem.metadata.get("tests", "")).strip():
            return "there are no tests; set Problem.metadata['tests'] to the program text that asserts"
        return None

    def _judge(self, text: str, problem: Problem) -> Verdict:
        if (reason := self.check(problem)) is not None:
            return broken("reference_refused", reason)
        found = self.rule.extract(text)
        return refusal(found) or replace(self._judge_code(found.answer or "", problem), answer=found.answer)

    def _judge_code(self, code: str, problem: Problem) -> Verdict:
        if len(code) > MAX_CODE_CHARACTERS:
            return limited("answer_too_long")
        if (refused := refuse_program(code)) is not None:
            return invalid(*refused)
        try:
            reply = self._post(self.program(code, problem))
            return limited("reply_too_long", f"over {_MAX_REPLY_BYTES} bytes") if reply is None else self._read(reply)
        except RemoteError as error:
            return broken("remote", str(error))

    def _post(self, code: str) -> Any:
        """The service's reply, ``None`` if it is longer than this process will read."""
        body = json.dumps({"code": code, "language": self.language, "run_timeout": self.run_seconds}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.run_seconds + self.grace_seconds) as response:
                reply = response.read(_MAX_REPLY_BYTES + 1)
        except (OSError, ValueError) as error:  # URLError, HTTPError and timeouts are OSErrors
            raise RemoteError(f"{self.url}: {error}") from None
        if len(reply) > _MAX_REPLY_BYTES:
            return None  # what the program printed is in it
        try:
            return json.loads(reply)
        except (ValueError, RecursionError):
            raise RemoteError("reply is not JSON") from None

    @staticmethod
    def _read(reply: Any) -> Verdict:
        """``status`` is the service's own; ``run_result.status`` is the program's."""
        result = reply.get("run_result") if isinstance(reply, Mapping) else None
        if not isinstance(result, Mapping) or reply.get("status") == "SandboxError":
            raise RemoteError(f"service reports {str(reply)[:120]}")
        match result.get("status"), result.get("return_code"):
            case "Finished", 0:
                return passed("exit_0")
            case "Finished", int(code):
                return failed("exit_nonzero", str(code))
            case "TimeLimitExceeded", _:
                return limited("remote_timeout")
            case status, _:
                raise RemoteError(f"unknown run status {str(status)[:40]!r}")


def code_then_tests(code: str, problem: Problem) -> str:
    """The code, then the problem's tests as program text."""
    return f"{code}\n\n{problem.metadata['tests']}\n"
