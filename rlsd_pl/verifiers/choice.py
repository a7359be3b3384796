"""Multiple choice: one letter, where the task's rule says."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import Boxed, ExtractionRule
from rlsd_pl.verifiers.lenient import METRIC, with_strict_accuracy
from rlsd_pl.verifiers.math.screen import MAX_CHARACTERS
from rlsd_pl.verifiers.math.text import canonical
from rlsd_pl.verifiers.verdicts import broken, failed, passed, refusal

_LETTER = re.compile(r"(?:\\text\{)?\s*\(?([A-Z])[).]?\s*\}?")


class ChoiceVerifier(Verifier):
    """Passes a completion whose extracted answer is the letter ``problem.answer``.

    The letter stands alone: ``B``, ``(B)``, ``B.`` or ``\\text{(B)}``, in upper case. ``I need a`` names no option.

    Args:
        options: number of options; a letter beyond them is wrong.
        rule: where the answer stands; its ``instruction`` must be in the prompt.
    """

    metric_names = (METRIC,)

    def __init__(self, options: int = 4, rule: ExtractionRule | None = None) -> None:
        if not 2 <= options <= len(string.ascii_uppercase):
            raise ValueError(f"got options={options}, expected 2 to 26; set it to the number of choices of the task")
        self.letters = string.ascii_uppercase[:options]
        self.rule = rule or Boxed()
        self.instruction = f"Answer with one letter of {', '.join(self.letters)}. {self.rule.instruction}"

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        verdicts = [self._judge(text, problem) for text, problem in zip(texts, problems, strict=True)]
        return with_strict_accuracy(self, texts, problems, verdicts)

    def check(self, problem: Problem) -> str | None:
        """The reference must be one of the letters."""
        if self._letter(problem.answer or "") is None:
            return f"got Problem.answer={problem.answer!r}, expected one letter of {', '.join(self.letters)}"
        return None

    def _judge(self, text: str, problem: Problem) -> Verdict:
        expected = self._letter(problem.answer or "")
        if expected is None:
            return broken("reference_refused", self.check(problem) or "")
        found = self.rule.extract(text)
        if (refused := refusal(found)) is not None:
            return refused
        letter = self._letter(found.answer or "")
        if letter is None:
            return failed("no_letter", answer=(found.answer or "").strip())
        return passed("same_letter", answer=letter) if letter == expected else failed("other_letter", answer=letter)

    def _letter(self, text: str) -> str | None:
        match = _LETTER.fullmatch(canonical(text[:MAX_CHARACTERS])) if len(text) <= MAX_CHARACTERS else None
        return match[1] if match and match[1] in self.letters else None
