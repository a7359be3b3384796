"""The lab's verifier: judges the answer, and knows everything else about a completion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlsd_pl.lab.demonstrator import FILLER_SYMBOLS
from rlsd_pl.lab.world import fact_result, running_values, steps_of
from rlsd_pl.types import Problem, Span, Status, Verdict
from rlsd_pl.verifiers.base import Verifier

# Explicit classes throughout: \d would accept digits of other scripts, and $ a trailing newline.
_ANSWERED = re.compile(r"[^#]*#([0-9])")
_STEP = re.compile(r"(?P<fact>[0-9][-+*][0-9])=(?P<result>[0-9]);")
_FILLER = re.compile(f"[{re.escape(FILLER_SYMBOLS)}]+")


@dataclass(frozen=True, slots=True)
class Step:
    """One written step: its fact (``"7*2"``), the digit claimed for it, and where that digit stands in the text."""

    fact: str
    result: int
    position: int

    @property
    def is_true(self) -> bool:
        return self.result == fact_result(self.fact)

    @property
    def digit(self) -> Span:
        return self.position, self.position + 1


class LabVerifier(Verifier):
    """Correct iff the text is ``...#d`` and ``d`` is the true digit.

    The one rule of extraction: exactly one ``#``, one ASCII digit after it, and nothing after that. Anything else is
    ``invalid``. The steps do not enter the reward, as in any outcome reward; they enter the metrics:

    - ``hollow``: 1 if there is an answer that the text's own steps do not yield (steps skipped, of another problem, or
      not linked to one another), else 0. False arithmetic alone is not hollow.
    - ``false_steps``: share of the written steps that are arithmetically false; 0 without steps.

    and the spans: ``decisive``, the result digits of misconceived facts; ``false``, the result digits of false steps,
    of whatever fact; and ``filler``.
    """

    instruction = ""
    metric_names = ("hollow", "false_steps")
    span_names = ("decisive", "false", "filler")

    @property
    def answer_lead(self) -> str:
        return "#"

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self._verify_one(text, problem) for text, problem in zip(texts, problems, strict=True)]

    def check(self, problem: Problem) -> str | None:
        expression, misconceptions = problem.metadata.get("expression"), problem.metadata.get("misconceptions")
        if not isinstance(expression, str) or misconceptions is None:
            return "metadata lacks 'expression' or 'misconceptions': the lab verifier judges problems of ChainTask only"
        try:
            truth = str(running_values(expression)[-1])
        except ValueError as error:
            return str(error)
        return None if problem.answer == truth else f"got answer {problem.answer!r}, expected {truth!r}"

    def _verify_one(self, text: str, problem: Problem) -> Verdict:
        reason = self.check(problem)
        if reason is not None:
            return Verdict(0.0, Status.ERROR, reason)
        steps = find_steps(text)
        answered = _ANSWERED.fullmatch(text)
        answer = answered[1] if answered else None
        status, detail = _judge(answer, problem.answer)
        return Verdict(
            reward=float(status is Status.PASS),
            status=status,
            detail=detail,
            metrics=_metrics(steps, answer, problem.metadata["expression"]),
            spans=_spans(text, steps, problem.metadata["misconceptions"]),
            answer=answer,
        )


def find_steps(text: str) -> list[Step]:
    """All steps written in ``text``, in order, whatever stands between them."""
    return [Step(m["fact"], int(m["result"]), m.start("result")) for m in _STEP.finditer(text)]


def yields_answer(steps: Sequence[Step], expression: str, answer: str) -> bool:
    """Whether the steps are this expression's chain, each taking up the result before it, and end in ``answer``."""
    values = [expression[0], *(str(step.result) for step in steps)]
    expected_facts = [value + step for value, step in zip(values, steps_of(expression), strict=False)]
    is_complete = len(steps) == len(steps_of(expression))
    return is_complete and [step.fact for step in steps] == expected_facts and values[-1] == answer


def _judge(answer: str | None, truth: str | None) -> tuple[Status, str]:
    if answer is None:
        return Status.INVALID, "expected the text to end in #d, one digit after the only '#'"
    if answer != truth:
        return Status.FAIL, f"got {answer}, expected {truth}"
    return Status.PASS, ""


def _metrics(steps: Sequence[Step], answer: str | None, expression: str) -> Mapping[str, float]:
    false_steps = sum(not step.is_true for step in steps)
    return {
        "hollow": float(answer is not None and not yields_answer(steps, expression, answer)),
        "false_steps": false_steps / len(steps) if steps else 0.0,
    }


def _spans(text: str, steps: Sequence[Step], misconceptions: Sequence[str]) -> Mapping[str, Sequence[Span]]:
    return {
        "decisive": [step.digit for step in steps if step.fact in misconceptions],
        "false": [step.digit for step in steps if not step.is_true],
        "filler": [match.span() for match in _FILLER.finditer(text)],
    }
