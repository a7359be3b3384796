"""The typed containers that travel through one iteration; all are imported from here.

Shapes: P prompts, G completions per prompt (a *group*), B = P * G, T completion tokens, V vocabulary.
``None`` means *absent*; an empty string or tensor never does.
"""

from rlsd_pl.types.batches import ContrastScores, DistillationPrompts, MicroBatch, RolloutBatch, TeacherScores
from rlsd_pl.types.completions import Completion, Rollout, Sampling, ValidationBatch
from rlsd_pl.types.credit import Credit, TokenLoss, TokenScores
from rlsd_pl.types.problems import Message, Problem, Span, Status, Verdict
from rlsd_pl.types.signals import MissingSignalError, Signal, present
from rlsd_pl.types.tensors import PER_TOKEN, PaddedTokens

__all__ = [
    "PER_TOKEN",
    "Completion",
    "ContrastScores",
    "Credit",
    "DistillationPrompts",
    "Message",
    "MicroBatch",
    "MissingSignalError",
    "PaddedTokens",
    "Problem",
    "Rollout",
    "RolloutBatch",
    "Sampling",
    "Signal",
    "Span",
    "Status",
    "TeacherScores",
    "TokenLoss",
    "TokenScores",
    "ValidationBatch",
    "Verdict",
    "present",
]
