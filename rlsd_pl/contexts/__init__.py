"""Privileged contexts: what the teacher sees beside the problem."""

from rlsd_pl.contexts.base import Context, ProblemContext
from rlsd_pl.contexts.problem import AnswerContext, SolutionContext

__all__ = ["AnswerContext", "Context", "ProblemContext", "SolutionContext"]
