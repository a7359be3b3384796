"""Solutions of equations and arithmetic by a symbolic solver, in a process that can be killed."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.commands.privileged.sources import Source
from rlsd_pl.errors import SetupError
from rlsd_pl.types import Message
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import AnswerLine, Boxed, HashLine
from rlsd_pl.verifiers.workers.pool import Outcome, Reply, WorkerLimits, WorkerPool

SOLVER_LIMITS = WorkerLimits(wall_seconds=10.0)
FORMS = {Boxed: r"\boxed{%s}", HashLine: "#### %s", AnswerLine: "Answer: %s"}
"""How the answer is written, by the verifier's rule."""


class SolverSource(Source):
    """Proposes one worked solution of each problem that is an equation or an arithmetic expression, and else none.

    Solved are: linear equations in one unknown (move terms, divide), quadratic ones with real roots (discriminant,
    roots), and arithmetic (one operation at a time). Systems, word problems and all else are not.

    Args:
        verifier: its rule says how the answer is written.
        limits: what one problem may use.

    Raises:
        SetupError: if the verifier's rule is none of :data:`FORMS`.
    """

    def __init__(self, verifier: Verifier, limits: WorkerLimits = SOLVER_LIMITS) -> None:
        rule = getattr(verifier, "rule", None)
        if type(rule) not in FORMS:
            raise SetupError(
                f"Got --source sympy with {type(verifier).__name__} and the rule {type(rule).__name__}; expected a "
                f"verifier with one of {', '.join(form.__name__ for form in FORMS)}: --verifier math or numeric."
            )
        self.form, self.instruction = FORMS[type(rule)], verifier.instruction
        self._pool = WorkerPool("rlsd_pl.commands.privileged.solver.handle", workers=1, limits=limits)

    def propose(self, chats: Sequence[Sequence[Message]], seed: int) -> list[list[str]]:
        """The last message is the problem."""
        texts = [str(chat[-1]["content"]).removesuffix(self.instruction) for chat in chats]
        return [self._written(reply) for reply in self._pool.map([{"text": text} for text in texts])]

    def close(self) -> None:
        self._pool.close()

    def _written(self, reply: Reply) -> list[str]:
        if reply.outcome is not Outcome.VALUE or reply.value["steps"] is None:
            return []
        return ["\n".join([*reply.value["steps"], self.form % reply.value["answer"]])]
