"""What a rollout needs of the LightningModule that learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlsd_pl.contexts import Context
from rlsd_pl.objectives import Objective
from rlsd_pl.policy import Policy
from rlsd_pl.teachers import Teacher
from rlsd_pl.types import Message


class Learner(Protocol):
    """A policy with an objective, and the teacher and contexts that its signals come from.

    ``max_positions`` is the longest sequence in tokens that the model is made for. It and ``encode``
    work before the policy has its weights: data is checked first.
    """

    objective: Objective
    teacher: Teacher
    context: Context
    contrast: Context | None
    reference: Teacher | None
    max_positions: int | None

    @property
    def policy(self) -> Policy: ...

    def encode(self, messages: Sequence[Message]) -> list[int]: ...
