"""Small parts that tests build runs from."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier


class SumTask(Task):
    """``a + b`` with the sum as the answer and a written solution."""

    name = "sum"

    def problem(self, split: Split, index: int) -> Problem:
        a, b = 3 + index % 97, (5 + index // 7) % 89
        if split == "val":
            a += 1000
        return Problem(
            id=f"sum/{split}/{index}",
            messages=[{"role": "user", "content": f"{a} plus {b}?"}],
            answer=str(a + b),
            privileged={"solution": f"secret steps {a + b}"},
        )

    def size(self, split: Split) -> int:
        return 64 if split == "train" else 7


class LetterVerifier(Verifier):
    """Scores the share of completions by a rule that a random model meets half the time; ``!`` breaks it."""

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self._one(text) for text in texts]

    @staticmethod
    def _one(text: str) -> Verdict:
        if text.startswith("!"):
            return Verdict(0.0, Status.ERROR, "broken on purpose")
        good = len(text) % 2 == 0
        return Verdict(float(good), Status.PASS if good else Status.FAIL, metrics={"hollow": float(not good)})
