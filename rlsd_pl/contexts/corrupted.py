"""A privileged text that is wrong: what a teacher is worth that has been told nonsense."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

from rlsd_pl.contexts.base import Context, ProblemContext, Tokenizer
from rlsd_pl.types import Message, Problem, Rollout


class CorruptedContext(ProblemContext):
    """r is another context's text, with every digit replaced by another one, for a share of the problems.

    Our own, a control. In one text a digit always becomes the same other digit, so that the text agrees with itself
    (``2+2=4``: ``7+7=9``) and is wrong wherever it says a number. Which problems are corrupted, and how, follows from
    their ids and the seed; those of a smaller share are among those of a larger one. share = 0 is the plain context.
    A text without a digit cannot be corrupted: such a problem is refused when the data is loaded.

    Args:
        context: whose text is corrupted, in its words and place.
        share: of the problems, in [0, 1].
        seed: another one corrupts other problems in other ways.
    """

    def __init__(self, context: ProblemContext, share: float = 1.0, seed: int = 0) -> None:
        super().__init__(instruction=context.instruction)
        if not 0 <= share <= 1:
            raise ValueError(f"Got context.share={share}; expected a number in [0, 1] (1: every problem).")
        self.context, self.share, self.seed = context, share, seed

    @property
    def source(self) -> str:
        return self.context.source

    def bind(self, tokenizer: Tokenizer) -> None:
        self.context.bind(tokenizer)

    def text(self, problem: Problem) -> str | None:
        text = self.context.text(problem)
        return text if text is None or not self.corrupts(problem) else text.translate(self._other_digits(problem))

    def corrupts(self, problem: Problem) -> bool:
        """Whether this problem is of the share."""
        return self._draw("share", problem).random() < self.share

    def check(self, problem: Problem) -> str | None:
        if reason := self.context.check(problem):
            return reason
        if self.corrupts(problem) and self.text(problem) == self.context.text(problem):
            return f"{self.source} holds no digit, so that CorruptedContext cannot corrupt it"
        return None

    def choice(self, group: Sequence[Rollout], index: int) -> Context:
        return self.context

    def wordings(self) -> list[Context]:
        return [self.context]

    def messages(self, problem: Problem, privileged: str) -> list[Message]:
        return self.context.messages(problem, privileged)

    def _draw(self, what: str, problem: Problem) -> random.Random:
        return random.Random(f"{self.seed}/{what}/{problem.id}")

    def _other_digits(self, problem: Problem) -> dict[int, str]:
        """A random cycle through all ten, so that none stays and no two become one."""
        cycle = self._draw("digits", problem).sample(string.digits, 10)
        return {ord(digit): cycle[i - 1] for i, digit in enumerate(cycle)}
