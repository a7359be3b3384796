"""Code: tests run in one process, the model's program in another, and only plain values pass between them."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from rlsd_pl.verifiers.extraction import ExtractionRule
from rlsd_pl.verifiers.sandbox import Job, Level, Limits, Run, Sandbox, open_sandbox, run_jobs
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, passed, refusal


@dataclass(frozen=True, slots=True)
class Submission:
    """A program with its task; equal ones are judged once. ``seed`` orders the tests."""

    task: CodeTask
    program: str
    seed: int


class CodeVerifier(Verifier):
    """Runs HumanEval- and MBPP-style tests and stdin/stdout tests; docs/verifiers-sandbox.md has keys and reasons.

    Expected values never enter the process that runs the model's program: it is asked for values, and the comparison
    happens elsewhere. Exit codes, objects with an equality of their own and forged reports decide nothing.

    ``partial_credit`` rewards a program that fails some tests with the share that it passes; the status stays ``fail``.
    The signal is denser and easier to exploit: a constant that answers half of the tests earns half, so a policy may
    settle on guessing common answers (``return False``). Use it where tests have many different answers, and compare
    ``tests_passed`` with the share of passes.

    Args:
        rule: where the program stands in the completion.
        limits: what one program may use, and what a batch may lose to programs at their limits.
        minimum_level: weakest isolation to accept; raises :class:`SandboxUnavailableError` if this machine has less.
        concurrency: programs that compute at a time, by default one for each CPU; sleeping ones run beside them.
        partial_credit: reward the share of tests passed.
    """

    metric_names = ("sandbox_level", "tests_passed")

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        limits: Limits | None = None,
        minimum_level: Level = Level.L2,
        concurrency: int | None = None,
        partial_credit: bool = False,
    ) -> None:
        self.rule = rule or LanguageBlock("python")
        self.instruction = self.rule.instruction
        self.sandbox = open_sandbox(minimum_level, limits)
        self.concurrency = concurrency or os.cpu_count() or 1
        self.partial_credit = partial_credit

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """One verdict for each text, with the program as ``answer``; ``sandbox_level`` says how it was isolated."""
        found = [self.rule.extract(text) for text in texts]
        submissions = [
            refusal(extracted) or _submit(extracted.answer or "", problem)
            for extracted, problem in zip(found, problems, strict=True)
        ]
        verdicts = self._run(submissions, self.sandbox)
        return [replace(verdict, answer=extracted.answer) for verdict, extracted in zip(verdicts, found, strict=True)]

    def check(self, problem: Problem) -> str | None:
        """Tests must be there, refuse a stub, and pass ``metadata['canonical_solution']`` where there is one."""
        return self.check_all([problem])[0]

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """:meth:`check` of many problems, side by side and without a limit for the batch."""
        patient = replace(self.sandbox, limits=replace(self.sandbox.limits, batch_seconds=math.inf))
        stubs = self._run([_submit(None, problem) for problem in problems], patient)
        own = self._run([_submit_canonical(problem) for problem in problems], patient)
        return [_complaint(stub, canonical) for stub, canonical in zip(stubs, own, strict=True)]

    def _run(self, submissions: list[Submission | Verdict], sandbox: Sandbox) -> list[Verdict]:
        unique = list({each: None for each in submissions if isinstance(each, Submission)})
        verdicts = run_jobs([guarded(self._judge(each)) for each in unique], sandbox, self.concurrency)
        judged = dict(zip(unique, verdicts, strict=True))
        return [self._measured(judged[each] if isinstance(each, Submission) else each) for each in submissions]

    def _measured(self, verdict: Verdict) -> Verdict:
        metrics = {"sandbox_level": float(self.sandbox.level)}
        if self.partial_credit:
            metrics["tests_passed"] = verdict.reward
        return replace(verdict, metrics=metrics)

    def _judge(self, submission: Submission) -> Job[Verdict]:
        if isinstance(submission.task, FunctionTask):
            return (yield from self._judge_function(submission.task, submission.program, submission.seed))
        return (yield from self._judge_script(submission.task, submission.program, submission.seed))

    def _judge_function(self, task: FunctionTask, program: str, seed: int) -> Job[Verdict]:
        job = {
            "program": program,
            "entry_point": task.entry_point,
            "prompt_code": task.prompt_code,
            "tests": task.tests,
            "seed": seed,
            "every_test": self.partial_credit,
            "value_bytes": self.sandbox.limits.output_bytes,
        }
        line = json.dumps(job).encode() + b"\n"
        run = Run("grader", line, companion="solution", one_line=True)
        return function_verdict((yield from undisturbed(run, self.sandbox.limits.cpu_seconds)))

    def _judge_script(self, task: ScriptTask, program: str, seed: int) -> Job[Verdict]:
        """Case by case, up to the first that fails; with partial credit, up to the first that is a limit."""
        source = program.encode()
        cases = list(enumerate(task.cases, start=1))
        random.Random(seed).shuffle(cases)
        right, verdict = 0, passed("passed")
        for number, (given, expected) in cases:
            run = Run("script", b"%d\n" % len(source) + source + given.encode())
            found = script_output((yield from undisturbed(run, self.sandbox.limits.cpu_seconds)))
            if isinstance(found, str):
                if same_output(found, expected, task.float_tolerance):
                    right += 1
                    continue
                found = failed("wrong_output", f"test {number} of {len(cases)}")
            failed_before = verdict.status is Status.FAIL and found.status is Status.FAIL
            verdict = verdict if failed_before else found
            if not self.partial_credit or found.status is not Status.FAIL:
                break
        credited = self.partial_credit and verdict.status is not Status.ERROR
        return replace(verdict, reward=right / len(cases)) if credited else verdict


def _submit(answer: str | None, problem: Problem) -> Submission | Verdict:
    """What is to be judged, or the verdict where that is clear; ``None`` stands for a stub that must fail."""
    try:
        task = read_task(problem)
        program = task.stub if answer is None else task.program(answer)
    except Exception as error:  # of whatever kind: the row cannot be judged
        return broken("task", str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}")
    refused = refuse_program(program)
    return Submission(task, program, seed_of(problem, program)) if refused is None else invalid(*refused)


def _submit_canonical(problem: Problem) -> Submission | Verdict:
    solution = problem.metadata.get("canonical_solution")
    return passed("unchecked") if solution is None else _submit(solution, problem)


def _complaint(stub: Verdict, canonical: Verdict) -> str | None:
    if stub.status is Status.ERROR:
        return stub.detail
    if stub.status is Status.PASS:
        return "the tests accept a stub that computes nothing; add tests that a wrong program fails"
    if canonical.status is not Status.PASS:
        return f"metadata['canonical_solution'] does not pass the tests: {canonical.status.value}, {canonical.detail}"
    return None
