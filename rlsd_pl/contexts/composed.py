"""Contexts made of other contexts, and none at all."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.contexts.base import DEFAULT_TEMPLATE, Context, Tokenizer
from rlsd_pl.types import Message, Problem, Rollout


class FirstOf(Context):
    """r is the text of the first of several contexts that has one, in this context's own words.

    Args:
        contexts: in the order of preference; their templates are not used.
        template: see :class:`Context`.
    """

    def __init__(self, contexts: Sequence[Context], template: str = DEFAULT_TEMPLATE) -> None:
        super().__init__(template)
        if not contexts:
            raise ValueError("Got context.contexts=[]; expected at least one context.")
        self.contexts = contexts

    def bind(self, tokenizer: Tokenizer) -> None:
        """See :meth:`Context.bind`."""
        for context in self.contexts:
            context.bind(tokenizer)

    def privileged(self, group: Sequence[Rollout], index: int) -> str | None:
        """See :meth:`Context.privileged`."""
        texts = (
            context.privileged(group, index) for context in self.contexts if context.check(group[index].problem) is None
        )
        return next((text for text in texts if text is not None), None)

    def check(self, problem: Problem) -> str | None:
        """See :meth:`Context.check`."""
        reasons = [context.check(problem) for context in self.contexts]
        return None if None in reasons else reasons[0]


class BareContext(Context):
    """The teacher sees what the student sees: for teachers that know better by themselves."""

    def __init__(self) -> None:
        super().__init__()

    def privileged(self, group: Sequence[Rollout], index: int) -> str:
        """The problem itself, which is no secret."""
        return group[index].problem.prompt

    def messages(self, problem: Problem, privileged: str) -> list[Message]:
        """The student's chat as it is."""
        return list(problem.messages)
