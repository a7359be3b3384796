"""A user's own reward as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.values import as_number
from rlsd_pl.verifiers.verdicts import broken

Judge = Callable[[str, Problem], Any]
"""(completion text, problem) -> a :class:`Verdict`, or a number in [0, 1] or a bool, of numpy and torch too."""


class FunctionVerifier(Verifier):
    """Calls ``function(text, problem)`` for each completion, in this process.

    The function is trusted with model text: it must not evaluate it, and when it hangs, the run stops after
    ``data.verify_timeout_seconds``. Give such work to a
    :class:`~rlsd_pl.verifiers.workers.pool.WorkerPool`. What it raises is an ``error``.

    Args:
        function: the function, or its dotted path, for example ``my_package.rewards.polite``.
        instruction: what the prompt tells the model.
    """

    def __init__(self, function: Judge | str, instruction: str = "") -> None:
        self.function = _load(function) if isinstance(function, str) else function
        self.instruction = instruction

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self._judge(text, problem) for text, problem in zip(texts, problems, strict=True)]

    def _judge(self, text: str, problem: Problem) -> Verdict:
        try:
            value = self.function(text, problem)
        except Exception as error:
            return broken("function_raised", f"{type(error).__name__}: {error}")
        if isinstance(value, Verdict):
            return value
        reward = as_number(value)
        if reward is None or not 0 <= reward <= 1:
            return broken("function_value", f"got {value!r:.80}, expected a Verdict or a number in [0, 1]")
        return Verdict(reward, Status.PASS if reward == 1 else Status.FAIL, "function")


def _load(path: str) -> Judge:
    module, _, name = path.rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"got function={path!r}, expected the dotted path of a function: {error}") from None
    if not callable(function):
        raise ValueError(f"got function={path!r}, a {type(function).__name__}; expected a function")
    return function
