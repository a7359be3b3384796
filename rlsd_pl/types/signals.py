"""Signals: what an objective may ask to have computed, and the error where it reads one that it did not ask for."""

from __future__ import annotations

from enum import Flag, auto
from typing import TypeVar

V = TypeVar("V")


class Signal(Flag):
    """What an objective reads of a batch beyond rewards; everything else is not computed."""

    NONE = 0
    TEACHER = auto()
    """Log-probs of the sampled tokens under the teacher and its context: ``RolloutBatch.teacher``."""
    CONTRAST = auto()
    """The same under rejected contexts: ``RolloutBatch.contrast``."""
    DISTRIBUTION = auto()
    """The teacher's prompts, for a divergence over the vocabulary: ``RolloutBatch.distillation``."""
    REFERENCE = auto()
    """Log-probs under the reference policy: ``RolloutBatch.reference``."""
    ENTROPY = auto()
    """Entropy of the policy at rollout time: ``RolloutBatch.entropy``."""


class MissingSignalError(LookupError):
    """An objective reads a signal that its needs do not name."""


def present(value: V | None, signal: Signal) -> V:
    """``value``, which the collector fills in where an objective's needs name ``signal``.

    Raises:
        MissingSignalError: if it is absent.
    """
    if value is None:
        raise MissingSignalError(
            f"The batch holds no {signal.name} signal, and the objective reads it. Add Signal.{signal.name} to the "
            "`signals` of the objective's needs, so that it is computed."
        )
    return value
