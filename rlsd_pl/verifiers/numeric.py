"""Numbers within a tolerance, for tasks whose references are measured or rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import Boxed, ExtractionRule
from rlsd_pl.verifiers.lenient import METRIC, with_strict_accuracy
from rlsd_pl.verifiers.math.leaves import units_agree
from rlsd_pl.verifiers.math.numbers import Quantity, TooLarge, parse_quantity
from rlsd_pl.verifiers.math.screen import MAX_CHARACTERS
from rlsd_pl.verifiers.math.text import canonical, squeeze
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, limited, passed, refusal


class NumericVerifier(Verifier):
    """Passes ``|answer - reference| <= max(relative_tolerance * |reference|, absolute_tolerance)``, exactly.

    Both sides are read as in :class:`~rlsd_pl.verifiers.math.verifier.MathVerifier`; two written units must agree.

    Args:
        relative_tolerance: share of the reference's size.
        absolute_tolerance: in the reference's unit; the only one that counts for a reference of 0.
        rule: where the answer stands; its ``instruction`` must be in the prompt.
    """

    metric_names = (METRIC,)

    def __init__(
        self, relative_tolerance: float = 1e-3, absolute_tolerance: float = 0.0, rule: ExtractionRule | None = None
    ) -> None:
        if not (0 <= relative_tolerance < 1 and 0 <= absolute_tolerance < float("inf")):
            raise ValueError(
                f"got relative_tolerance={relative_tolerance}, absolute_tolerance={absolute_tolerance}, expected a "
                "share in [0, 1) and a finite number of at least 0; set relative_tolerance=1e-3 for three digits"
            )
        self.relative_tolerance = Fraction(relative_tolerance)
        self.absolute_tolerance = Fraction(absolute_tolerance)
        self.rule = rule or Boxed()
        self.instruction = self.rule.instruction

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        verdicts = [self._judge(text, problem) for text, problem in zip(texts, problems, strict=True)]
        return with_strict_accuracy(self, texts, problems, verdicts)

    def check(self, problem: Problem) -> str | None:
        """The reference must be a number."""
        try:
            reference = _read(problem.answer or "")
        except TooLarge as error:
            return f"got Problem.answer={(problem.answer or '')[:40]!r}, expected a smaller number: {error}"
        return None if reference else f"got Problem.answer={problem.answer!r}, expected a number"

    def _judge(self, text: str, problem: Problem) -> Verdict:
        if (reason := self.check(problem)) is not None:
            return broken("reference_refused", reason)
        found = self.rule.extract(text)
        if (refused := refusal(found)) is not None:
            return refused
        return replace(self._compare(found.answer or "", problem.answer or ""), answer=(found.answer or "").strip())

    def _compare(self, text: str, target: str) -> Verdict:
        reference = _read(target)
        try:
            answer = _read(text, squeeze(canonical(target)))
        except TooLarge:
            return limited("number_too_large")
        if answer is None or reference is None:
            return invalid("no_number")
        return passed("within_tolerance") if self._close(answer, reference) else failed("outside_tolerance")

    def _close(self, answer: Quantity, reference: Quantity) -> bool:
        if not units_agree(answer.unit, reference.unit):
            return False
        allowed = max(self.relative_tolerance * abs(reference.value), self.absolute_tolerance)
        return abs(answer.value - reference.value) <= allowed


def _read(text: str, reference: str | None = None) -> Quantity | None:
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"{len(text)} characters")
    return parse_quantity(canonical(text), reference)
