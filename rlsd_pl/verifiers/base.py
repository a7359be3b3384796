"""The verifier interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.extraction import ExtractionRule


class Verifier(ABC):
    """Judges completions against problems.

    Subclasses implement :meth:`verify`, in bulk so that pools can work in parallel, and :meth:`check`, which says at
    load time whether a problem can be judged at all. ``verify`` never raises for anything that stands in a completion:
    a failure of the verifier itself is a verdict with status ``error``.
    """

    instruction: str = ""
    """What a prompt must tell the model so that its answer can be extracted, for example ``Put it in \\boxed{}``."""

    metric_names: tuple[str, ...] = ()
    """Keys that ``Verdict.metrics`` may hold; logged under ``rollout/`` and ``val/``, explained in docs/metrics.md."""

    span_names: tuple[str, ...] = ()
    """Keys that ``Verdict.spans`` may hold: what objectives can ask for as token masks."""

    @property
    def answer_lead(self) -> str | None:
        """What stands right before an answer, for example ``\\boxed{``, for whoever forces one; ``None`` if unknown."""
        return getattr(getattr(self, "rule", None), "lead", None)

    @abstractmethod
    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """Judge ``texts[i]`` as a completion of ``problems[i]``; returns one verdict for each, in order."""

    def check(self, problem: Problem) -> str | None:
        """Reason why this problem's reference cannot be used, or ``None`` if it verifies against itself."""
        return None

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """:meth:`check` of many problems, in order. Overridden where workers can do it side by side."""
        return [self.check(problem) for problem in problems]

    def bind(self, end_of_turn: Sequence[str]) -> None:
        """Say which texts end a turn: those of the tokens at which the model in use stops. Called before sampling.

        What follows the first of them is never read. Without it the well-known ones count (``extraction.END_OF_TURN``).
        """
        if isinstance(rule := getattr(self, "rule", None), ExtractionRule):
            rule.bind(end_of_turn)

    def close(self) -> None:  # noqa: B027
        """Release workers; the verifier may be used again afterwards (workers start anew)."""
