"""Code tasks as ``Problem.metadata`` describes them. The keys are documented in docs/verifiers-sandbox.md."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsd_pl.types import Problem

MAX_PROGRAM_BYTES = 64 << 10


class TaskError(ValueError):
    """A problem whose metadata cannot be judged; the message says which key to set."""


@dataclass(frozen=True, slots=True)
class FunctionTask:
    """Judged by tests that call a function.

    Attributes:
        tests: source text; asserts at its top level, or a function ``check(candidate)``.
        entry_point: name of the function under test.
        prompt_code: code that stands before the program, and whose helpers the tests may use.
    """

    tests: str
    entry_point: str
    prompt_code: str

    def program(self, answer: str) -> str:
        """``prompt_code`` and the answer: a body that continues it, or a whole function that replaces its stub."""
        return self.prompt_code + answer

    @property
    def stub(self) -> str:
        """A wrong solution that every usable test set refuses."""
        return f"def {self.entry_point}(*args, **kwargs): return None\n"


@dataclass(frozen=True, slots=True)
class ScriptTask:
    """Judged by what a program prints.

    Attributes:
        cases: (stdin, expected stdout) pairs.
        float_tolerance: relative tolerance for tokens that are numbers on both sides; ``None`` compares text.
    """

    cases: tuple[tuple[str, str], ...]
    float_tolerance: float | None

    def program(self, answer: str) -> str:
        """The answer itself."""
        return answer

    @property
    def stub(self) -> str:
        """A program that prints nothing."""
        return "pass\n"


CodeTask = FunctionTask | ScriptTask


def read_task(problem: Problem) -> CodeTask:
    """The task of a problem; raises :class:`TaskError`."""
    metadata = problem.metadata
    has_tests, has_cases = "tests" in metadata, "stdin_tests" in metadata
    if has_tests == has_cases:
        raise TaskError("expected exactly one of metadata['tests'] and metadata['stdin_tests']")
    return _function_task(metadata) if has_tests else _script_task(metadata)


def refuse_program(program: str) -> tuple[str, str] | None:
    """Reason code and explanation if ``program`` is no text that an interpreter takes."""
    try:
        size = len(program.encode())
    except UnicodeEncodeError:
        return "not_text", "the program holds lone surrogates"
    if "\0" in program:
        return "not_text", "the program holds null characters"
    if size > MAX_PROGRAM_BYTES:
        return "program_size", f"{size} bytes, at most {MAX_PROGRAM_BYTES}"
    return None


def seed_of(problem: Problem, program: str) -> int:
    """Order of the tests: the same for the same program, another for each program."""
    return zlib.crc32(f"{problem.id}\n{program}".encode())


def _function_task(metadata: Mapping[str, Any]) -> FunctionTask:
    tests, entry_point = metadata["tests"], metadata.get("entry_point", "")
    if isinstance(tests, Sequence) and not isinstance(tests, str):
        tests = "\n".join(tests)
    if not isinstance(tests, str) or not tests.strip():
        raise TaskError("metadata['tests'] holds no tests; set source text or a list of asserts")
    if not isinstance(entry_point, str) or not entry_point.isidentifier():
        raise TaskError(f"metadata['entry_point'] is {entry_point!r}; set the name of the function under test")
    prompt_code = metadata.get("prompt_code") or ""
    if not isinstance(prompt_code, str):
        raise TaskError(f"metadata['prompt_code'] is a {type(prompt_code).__name__}; set source text")
    return FunctionTask(tests, entry_point, prompt_code)


def _script_task(metadata: Mapping[str, Any]) -> ScriptTask:
    cases = metadata["stdin_tests"]
    try:
        pairs = tuple((str(given), str(expected)) for given, expected in cases)
    except (TypeError, ValueError):
        raise TaskError("metadata['stdin_tests'] must be a list of [stdin, expected stdout] pairs") from None
    if not pairs:
        raise TaskError("metadata['stdin_tests'] holds no tests")
    tolerance = metadata.get("float_tolerance")
    return ScriptTask(pairs, None if tolerance is None else float(tolerance))
