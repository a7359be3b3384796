"""Contexts that read the problem alone."""

from __future__ import annotations

from typing import Any

from rlsd_pl.contexts.base import ProblemContext
from rlsd_pl.types import Problem


class AnswerContext(ProblemContext):
    """r is the final answer, as in the RLSD paper (2604.03128, section 4).

    Args:
        template, place, instruction: see :class:`Context`.
    """

    @property
    def source(self) -> str:
        return "the answer"

    def text(self, problem: Problem) -> str | None:
        return problem.answer


class SolutionContext(ProblemContext):
    """r is a privileged text of the problem: by default its reference solution.

    Args:
        field: key into ``Problem.privileged``; any column of a team's own data can be mapped there.
        template, place, instruction: see :class:`Context`.
    """

    def __init__(self, field: str = "solution", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.field = field

    @property
    def source(self) -> str:
        return f"Problem.privileged[{self.field!r}]"

    def text(self, problem: Problem) -> str | None:
        return problem.privileged.get(self.field)
