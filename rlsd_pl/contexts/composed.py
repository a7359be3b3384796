"""Contexts made of other contexts, and none at all."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.contexts.base import Context, Tokenizer
from rlsd_pl.types import Message, Problem, Rollout


class FirstOf(Context):
    """r is the text of the first of several contexts that has one, in that context's words and place.

    Args:
        contexts: in the order of preference.
    """

    def __init__(self, contexts: Sequence[Context]) -> None:
        super().__init__()
        if not contexts:
            raise ValueError("Got context.contexts=[]; expected at least one context.")
        self.contexts = contexts

    def bind(self, tokenizer: Tokenizer) -> None:
        for context in self.contexts:
            context.bind(tokenizer)

    def privileged(self, group: Sequence[Rollout], index: int) -> str | None:
        texts = (context.privileged(group, index) for context in self._possible(group[index].problem))
        return next((text for text in texts if text is not None), None)

    def choice(self, group: Sequence[Rollout], index: int) -> Context:
        for context in self._possible(group[index].problem):
            if context.privileged(group, index) is not None:
                return context.choice(group, index)
        raise LookupError(f"Problem {group[index].problem.id}: no context has a text for completion {index}.")

    def wordings(self) -> list[Context]:
        return [worded for context in self.contexts for worded in context.wordings()]

    def check(self, problem: Problem) -> str | None:
        reasons = [context.check(problem) for context in self.contexts]
        return None if None in reasons else reasons[0]

    def messages(self, problem: Problem, privileged: str) -> list[Message]:
        raise TypeError("FirstOf has no words of its own; ask choice(group, index) for the context that has the text.")

    def _possible(self, problem: Problem) -> list[Context]:
        return [context for context in self.contexts if context.check(problem) is None]


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
