"""Where a completion states its answer, and how often."""

from __future__ import annotations

from rlsd_pl.leakage.overlap import words
from rlsd_pl.patterns import TextPattern

STATEMENT = (
    r"(?i)(?:\\(?:boxed|fbox)\s*\{|####\s*|#(?=[0-9])|<answer>\s*)([^\s;}<$*#]{1,40})"
    r"|\banswer(?:\s+is|\s*[:=])\s*\**\$?([-+]?[0-9][0-9,./]{0,20}|\(?[A-E]\)?(?!\w))"
)
"""An answer that is stated as final: in a box, behind hashes, in a tag, or in words with a number or an option."""

LEAST_REASONING = 8
"""Words (digits and signs count each) without which an answer stands before its reasoning."""


class AnswerFormat:
    """Finds stated answers.

    Args:
        pattern: of a statement; the first group that matches is the answer.
    """

    def __init__(self, pattern: str = STATEMENT) -> None:
        self.pattern = TextPattern(pattern, "statement")

    def __call__(self, completion: str) -> tuple[bool, bool]:
        """Whether the first answer comes before the reasoning, and whether different answers are stated."""
        found = self.pattern.matches(completion)
        if not found:
            return False, False
        answers = {next((g for g in match.groups() if g), match.group()).strip(".,():").lower() for match in found}
        return len(words(completion[: found[0].start()])) < LEAST_REASONING, len(answers) > 1
