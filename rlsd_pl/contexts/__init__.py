"""Privileged contexts: what the teacher sees beside the problem."""

from rlsd_pl.contexts.base import Context, ProblemContext
from rlsd_pl.contexts.composed import BareContext, FirstOf
from rlsd_pl.contexts.corrupted import CorruptedContext
from rlsd_pl.contexts.documents import DocumentsContext
from rlsd_pl.contexts.feedback import VerifierFeedback
from rlsd_pl.contexts.problem import AnswerContext, SolutionContext
from rlsd_pl.contexts.siblings import RejectedAnswers, RejectedSiblings, SiblingContext, SuccessfulSibling

__all__ = [
    "AnswerContext",
    "BareContext",
    "Context",
    "CorruptedContext",
    "DocumentsContext",
    "FirstOf",
    "ProblemContext",
    "RejectedAnswers",
    "RejectedSiblings",
    "SiblingContext",
    "SolutionContext",
    "SuccessfulSibling",
    "VerifierFeedback",
]
