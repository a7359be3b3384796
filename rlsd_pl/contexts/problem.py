"""Contexts that read the problem alone."""

from __future__ import annotations

from rlsd_pl.contexts.base import DEFAULT_TEMPLATE, ProblemContext
from rlsd_pl.types import Problem


class AnswerContext(ProblemContext):
    """r is the final answer, as in the RLSD paper (2604.03128, section 4)."""

    @property
    def source(self) -> str:
        """See :meth:`ProblemContext.source`."""
        return "the answer"

    def text(self, problem: Problem) -> str | None:
        """See :meth:`ProblemContext.text`."""
        return problem.answer


class SolutionContext(ProblemContext):
    """r is a privileged text of the problem: by default its reference solution.

    Args:
        field: key into ``Problem.privileged``; any column of a team's own data can be mapped there.
        template: see :class:`Context`.
    """

    def __init__(self, field: str = "solution", template: str = DEFAULT_TEMPLATE) -> None:
        super().__init__(template)
        self.field = field

    @property
    def source(self) -> str:
        """See :meth:`ProblemContext.source`."""
        return f"Problem.privileged[{self.field!r}]"

    def text(self, problem: Problem) -> str | None:
        """See :meth:`ProblemContext.text`."""
        return problem.privileged.get(self.field)
