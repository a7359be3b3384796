"""Privileged contexts: what the teacher sees beside the problem, how it is put into words, and where it stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from rlsd_pl.templates import TextTemplate
from rlsd_pl.types import Message, Problem, Rollout

Place = Literal["user", "system", "assistant"]
"""The turn of the teacher's chat that holds the privileged text."""

REFERENCE_WORDS = """\
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
        template: Jinja2 source with the variables ``prompt`` (the last user turn) and ``privileged`` (r). ``None``: the
            context's own words, in ``user`` behind the prompt; in ``assistant`` r alone behind a space, as in the
            official CEPO code.
        place: where the rendered template stands.
            ``user``: it is the last user turn, so it has to show the prompt too.
            ``system``: it begins the system turn, which is added where the chat has none.
            ``assistant``: it stands behind the generation prompt, as the beginning of the teacher's reply; the sampled
            tokens follow it directly.
        instruction: whether the verifier's answer instruction is part of the teacher's chat as it is of the student's.

    Raises:
        ValueError: for a template that hides one of what it has to show, since it would silently teach nothing; one
            that cannot be rendered; an unknown place.
    """

    words: str = REFERENCE_WORDS
    """What the teacher is told of r where no template is given."""
    count: int = 1
    """Most texts per completion, where the context serves for contrast."""

    def __init__(self, template: str | None = None, place: Place = "user", instruction: bool = True) -> None:
        if place not in get_args(Place):
            raise ValueError(f"Got context.place={place!r}; expected one of {', '.join(get_args(Place))}.")
        default = {"user": f"{{{{ prompt }}}}\n\n{self.words}", "system": self.words, "assistant": " {{ privileged }}"}
        self.template = TextTemplate(default[place] if template is None else template, "context.template")
        self.place: Place = place
        self.instruction = instruction
        self._check_template()

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

    def choice(self, group: Sequence[Rollout], index: int) -> Context:
        """The context that words the text of completion ``index``: this one, or one of those that it is made of."""
        return self

    def wordings(self) -> list[Context]:
        """The contexts that :meth:`choice` may give, to try whether a model's chat template takes their chats."""
        return [self]

    def passed_over(self, group: Sequence[Rollout]) -> int:
        """How many completions of a group would be shown to others, but hold nothing that could be shown."""
        return 0

    def check(self, problem: Problem) -> str | None:
        """Reason why this problem can never get its privileged text, or ``None``. Asked when the data is loaded."""
        return None

    def messages(self, problem: Problem, privileged: str) -> list[Message]:
        """The teacher's chat: the student's with the privileged text in its place.

        A chat that ends in an assistant turn has that turn begun and not ended.

        Raises:
            ValueError: if the text is blank.
        """
        if not privileged.strip():
            raise ValueError(f"Problem {problem.id}: {type(self).__name__} has a blank privileged text.")
        shown = self.template.render({"prompt": problem.prompt, "privileged": privileged})
        return _PLACED[self.place](problem.messages, shown)

    def _check_template(self) -> None:
        marks = {name: f"\x00{name}\x00" for name in ("prompt", "privileged")}
        rendered = self.template.render(marks)
        for name in ("prompt", "privileged") if self.place == "user" else ("privileged",):
            if marks[name] not in rendered:
                raise ValueError(
                    f"Got context.template={self.template.source!r}, which does not show {{{{ {name} }}}}; it has to "
                    f"where context.place={self.place}."
                )


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
        problem = group[index].problem
        text = self.text(problem)
        if text is None or not text.strip():
            raise ValueError(f"Problem {problem.id}: {self._lack}.")
        return text

    def check(self, problem: Problem) -> str | None:
        text = self.text(problem)
        return None if text is not None and text.strip() else self._lack

    @property
    def _lack(self) -> str:
        return f"no privileged text: {self.source} is absent or blank"


def _in_user_turn(chat: Sequence[Message], shown: str) -> list[Message]:
    last = max(i for i, m in enumerate(chat) if m["role"] == "user")
    return [{**m, "content": shown} if i == last else m for i, m in enumerate(chat)]


def _in_system_turn(chat: Sequence[Message], shown: str) -> list[Message]:
    if chat[0]["role"] != "system":
        return [{"role": "system", "content": shown}, *chat]
    return [{**chat[0], "content": f"{shown}\n\n{chat[0]['content']}"}, *chat[1:]]


def _in_assistant_turn(chat: Sequence[Message], shown: str) -> list[Message]:
    if chat[-1]["role"] != "assistant":
        return [*chat, {"role": "assistant", "content": shown}]
    return [*chat[:-1], {**chat[-1], "content": shown + chat[-1]["content"]}]


_PLACED = {"user": _in_user_turn, "system": _in_system_turn, "assistant": _in_assistant_turn}
