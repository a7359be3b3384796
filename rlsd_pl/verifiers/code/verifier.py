"""Code: tests run in one process, the model's program in another, and only plain values pass between them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import replace

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.code.blocks import LanguageBlock
from rlsd_pl.verifiers.code.output import same_output
from rlsd_pl.verifiers.code.tasks import (
    CodeTask,
    FunctionTask,
    ScriptTask,
    TaskError,
    read_task,
    refuse_program,
    seed_of,
)
from rlsd_pl.verifiers.code.verdicts import function_verdict, guarded, script_output, undisturbed
from rlsd_pl.verifiers.extraction import WRONG, ExtractionRule
from rlsd_pl.verifiers.sandbox import Job, Level, Limits, Run, open_sandbox, run_jobs
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, passed


class CodeVerifier(Verifier):
    """Runs HumanEval- and MBPP-style tests and stdin/stdout tests; docs/verifiers-sandbox.md has keys and reasons.

    Expected values never enter the process that runs the model's program: it is asked for values, and the comparison
    happens elsewhere. Exit codes, objects with an equality of their own and forged reports decide nothing.

    Args:
        rule: where the program stands in the completion.
        limits: what one program may use.
        minimum_level: weakest isolation to accept; raises :class:`SandboxUnavailableError` if this machine has less.
        concurrency: programs at a time, by default one for each CPU.
    """

    metric_names = ("sandbox_level",)

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        limits: Limits | None = None,
        minimum_level: Level = Level.L2,
        concurrency: int | None = None,
    ) -> None:
        self.rule = rule or LanguageBlock("python")
        self.instruction = self.rule.instruction
        self.sandbox = open_sandbox(minimum_level, limits)
        self.concurrency = concurrency or os.cpu_count() or 1

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """One verdict for each text; ``metrics['sandbox_level']`` says how strongly it was isolated."""
        jobs = [self._judge_text(text, problem) for text, problem in zip(texts, problems, strict=True)]
        return self._run(jobs)

    def check(self, problem: Problem) -> str | None:
        """Tests must be there, refuse a stub, and pass ``metadata['canonical_solution']`` where there is one."""
        return self.check_all([problem])[0]

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """:meth:`check` of many problems, side by side."""
        stubs = self._run([self._judge_own(problem, canonical=False) for problem in problems])
        own = self._run([self._judge_own(problem, canonical=True) for problem in problems])
        return [_complaint(stub, canonical) for stub, canonical in zip(stubs, own, strict=True)]

    def _run(self, jobs: list[Job[Verdict]]) -> list[Verdict]:
        level = {"sandbox_level": float(self.sandbox.level)}
        verdicts = run_jobs(map(guarded, jobs), self.sandbox, self.concurrency)
        return [replace(verdict, metrics=level) for verdict in verdicts]

    def _judge_text(self, text: str, problem: Problem) -> Job[Verdict]:
        found = self.rule.extract(text)
        if found.missing is not None:
            return failed(found.missing) if found.missing in WRONG else invalid(found.missing)
        try:
            task = read_task(problem)
        except TaskError as error:
            return broken("task", str(error))
        return (yield from self._judge_program(task, task.program(found.answer or ""), problem))

    def _judge_own(self, problem: Problem, canonical: bool) -> Job[Verdict]:
        """The verdict on the canonical solution, or on a stub that must fail."""
        try:
            task = read_task(problem)
        except TaskError as error:
            return broken("task", str(error))
        if not canonical:
            return (yield from self._judge_program(task, task.stub, problem))
        solution = problem.metadata.get("canonical_solution")
        if solution is None:
            return passed("unchecked")
        return (yield from self._judge_program(task, task.program(solution), problem))

    def _judge_program(self, task: CodeTask, program: str, problem: Problem) -> Job[Verdict]:
        refused = refuse_program(program)
        if refused is not None:
            return invalid(*refused)
        seed = seed_of(problem, program)
        if isinstance(task, FunctionTask):
            return (yield from self._judge_function(task, program, seed))
        return (yield from _judge_script(task, program, seed, self.sandbox.limits.cpu_seconds))

    def _judge_function(self, task: FunctionTask, program: str, seed: int) -> Job[Verdict]:
        job = {
            "program": program,
            "entry_point": task.entry_point,
            "prompt_code": task.prompt_code,
            "tests": task.tests,
            "seed": seed,
            "value_bytes": self.sandbox.limits.output_bytes,
        }
        line = json.dumps(job).encode() + b"\n"
        run = Run("grader", line, companion="solution", one_line=True)
        return function_verdict((yield from undisturbed(run, self.sandbox.limits.cpu_seconds)))


def _judge_script(task: ScriptTask, program: str, seed: int, cpu_seconds: float) -> Job[Verdict]:
    source = program.encode()
    cases = list(enumerate(task.cases, start=1))
    random.Random(seed).shuffle(cases)
    for number, (given, expected) in cases:
        run = Run("script", b"%d\n" % len(source) + source + given.encode())
        output = script_output((yield from undisturbed(run, cpu_seconds)))
        if isinstance(output, Verdict):
            return output
        if not same_output(output, expected, task.float_tolerance):
            return failed("wrong_output", f"test {number} of {len(cases)}")
    return passed("passed")


def _complaint(stub: Verdict, canonical: Verdict) -> str | None:
    if stub.status is Status.ERROR:
        return stub.detail
    if stub.status is Status.PASS:
        return "the tests accept a stub that computes nothing; add tests that a wrong program fails"
    if canonical.status is not Status.PASS:
        return f"metadata['canonical_solution'] does not pass the tests: {canonical.status.value}, {canonical.detail}"
    return None
