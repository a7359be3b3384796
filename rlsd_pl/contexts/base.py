"""Privileged contexts: what the teacher sees beside the problem, and how it is put into words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from jinja2 import Environment, StrictUndefined

from rlsd_pl.types import Message, Problem, Rollout

DEFAULT_TEMPLATE = """\
{{ prompt }}

You have been given the following reference, which the reader of your reply does not have:
<reference>
{{ privileged }}
</reference>
Reply as if you had worked it out yourself, step by step, without mentioning the reference."""


class Tokenizer(Protocol):
    """What contexts need of a tokenizer."""

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...

    def decode(self, token_ids: list[int], skip_special_tokens: bool = ...) -> str: ...


class Context(ABC):
    """Privileged text r for one completion, rendered into the teacher's prompt (x, r).

    Args:
        template: Jinja2 source of the teacher's last user turn, with the variables ``prompt`` and ``privileged``.

    Raises:
        ValueError: if the template does not use both variables: a template without ``privileged`` would silently teach
            nothing.
    """

    count: int = 1
    """Most texts per completion, where the context serves for contrast."""

    def __init__(self, template: str = DEFAULT_TEMPLATE) -> None:
        self.template = Environment(undefined=StrictUndefined, autoescape=False).from_string(template)
        rendered = self.template.render(prompt="\x00prompt\x00", privileged="\x00privileged\x00")
        for name in ("prompt", "privileged"):
            if f"\x00{name}\x00" not in rendered:
                raise ValueError(
                    f"The context's template does not show {{{{ {name} }}}}; got {template!r}. Both {{{{ prompt }}}} "
                    "and {{ privileged }} must appear in it."
                )

    def bind(self, tokenizer: Tokenizer) -> None:
        """Called once with the policy's tokenizer, before anything else is asked. For contexts that count tokens."""
        return

    @abstractmethod
    def privileged(self, group: Sequence[Rollout], index: int) -> str | None:
        """Privileged text for completion ``index`` of a group; ``None`` if the group has nothing to show.

        Raises:
            ValueError: if the problem should hold the text and does not.
        """

    def alternatives(self, group: Sequence[Rollout], index: int) -> list[str]:
        """At most ``count`` texts for completion ``index``, for objectives that contrast contexts; maybe none."""
        text = self.privileged(group, index)
        return [] if text is None else [text]

    def check(self, problem: Problem) -> str | None:
        """Reason why this problem can never get its privileged text, or ``None``. Asked when the data is loaded."""
        return None

    def messages(self, problem: Problem, privileged: str) -> list[Message]:
        """The teacher's chat: the student's, with the last user turn rendered through the template."""
        last = max(i for i, m in enumerate(problem.messages) if m["role"] == "user")
        shown = self.template.render(prompt=problem.messages[last]["content"], privileged=privileged)
        return [{**m, "content": shown} if i == last else m for i, m in enumerate(problem.messages)]


class ProblemContext(Context):
    """A context whose text stands in the problem itself, the same for every completion."""

    @abstractmethod
    def text(self, problem: Problem) -> str | None:
        """The text, or ``None`` where the problem lacks it."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Where the text comes from, for messages to people."""

    def privileged(self, group: Sequence[Rollout], index: int) -> str:
        """See :meth:`Context.privileged`; never blank."""
        problem = group[index].problem
        if reason := self.check(problem):
            raise ValueError(f"Problem {problem.id}: {reason}")
        text = self.text(problem)
        assert text is not None
        return text

    def check(self, problem: Problem) -> str | None:
        """See :meth:`Context.check`."""
        text = self.text(problem)
        return None if text and text.strip() else f"no privileged text: {self.source} is absent or blank"
