"""Contexts made of the other completions of the group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rlsd_pl.contexts.base import Context
from rlsd_pl.patterns import TextPattern
from rlsd_pl.types import Rollout, Status

THINKING = r"(?s)<think>.*?</think>\s*|\A(?:(?!<think>).)*?</think>\s*"
"""The reasoning of a thinking model, also where the generation prompt opened it and the completion only closes it."""


class SiblingContext(Context):
    """What completions of the same problem show, from the next one on around the group: not all see the same one."""

    @abstractmethod
    def accepts(self, rollout: Rollout) -> bool:
        """Whether this completion may be shown."""

    @abstractmethod
    def shown(self, rollout: Rollout) -> str | None:
        """What is shown of it; ``None`` or blank where there is nothing to show, so that it is passed over."""

    def around(self, group: Sequence[Rollout], index: int) -> list[Rollout]:
        """Who may be shown to completion ``index``, in the order of preference: never the completion itself."""
        return [*group[index + 1 :], *group[:index]]

    def privileged(self, group: Sequence[Rollout], index: int) -> str | None:
        return next(iter(self.alternatives(group, index)), None)

    def alternatives(self, group: Sequence[Rollout], index: int) -> list[str]:
        texts = (self.shown(rollout) for rollout in self.around(group, index) if self.accepts(rollout))
        return list(islice((text for text in texts if text is not None and text.strip()), self.count))

    def passed_over(self, group: Sequence[Rollout]) -> int:
        return sum(self.accepts(rollout) and not (self.shown(rollout) or "").strip() for rollout in group)


class SiblingText(SiblingContext):
    """Siblings that show their text, or what a pattern finds in it.

    Args:
        hidden: regular expression; what it matches is cut out first. ``None`` hides nothing.
        pattern: regular expression; what its groups match (the whole match without groups) is shown, every match in
            turn. A sibling without a match is passed over. ``None`` shows the whole text.
        separator: stands between the matches.
        template, place, instruction: see :class:`Context`.
    """

    words = """\
Here is an attempt at this problem:
<attempt>
{{ privileged }}
</attempt>
Reply as if you had worked it out yourself, step by step, without mentioning the attempt."""

    def __init__(
        self, hidden: str | None = None, pattern: str | None = None, separator: str = ",", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden = None if hidden is None else TextPattern(hidden, "hidden")
        self.pattern = None if pattern is None else TextPattern(pattern, "pattern")
        self.separator = separator

    def shown(self, rollout: Rollout) -> str:
        text = rollout.completion.text
        if self.hidden is not None:
            text = _without(text, self.hidden)
        if self.pattern is None:
            return text
        found = (next((g for g in m.groups() if g is not None), m.group()) for m in self.pattern.matches(text))
        return self.separator.join(found)


class SuccessfulSibling(SiblingText):
    """r is another completion of the group that the verifier passed (SDPO 2601.20802), and that has an end.

    A completion without a successful sibling has no context.

    Args:
        hidden: see :class:`SiblingText`; by default the reasoning in ``<think>``, as in the official SDPO code.
        pattern, separator: see :class:`SiblingText`.
        template, place, instruction: see :class:`Context`.
    """

    def __init__(self, hidden: str | None = THINKING, **kwargs: Any) -> None:
        super().__init__(hidden, **kwargs)

    def accepts(self, rollout: Rollout) -> bool:
        return rollout.verdict.status is Status.PASS and not rollout.completion.truncated


class RejectedSiblings(SiblingText):
    """Other completions of the group that the verifier judged and did not pass, for contrast (RLCSD 2606.11709).

    Args:
        count: most siblings per completion; 4 in RLCSD.
        hidden, pattern, separator: see :class:`SiblingText`; the same as the other context has.
        template, place, instruction: see :class:`Context`; the same as the other context has, or the contrast is one
            of wordings.
    """

    def __init__(self, count: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = _positive(count)

    def accepts(self, rollout: Rollout) -> bool:
        return is_rejected(rollout)


class RejectedAnswers(SiblingContext):
    """Final answers of rejected completions, as the verifier extracted them, for contrast (CEPO 2605.19436).

    A rejected completion that is the only one with an answer is contrasted with its own: the paper's G^- holds it, and
    the official code, which takes one rejected answer for the whole group, does the same. Its reasoning is not shown,
    so what is blamed are the tokens that lead to that answer. Without any rejected answer in the group there is no
    contrast. A completion that was rejected for its form, with the right answer, is passed over.

    Args:
        count: most answers per completion; 1 in CEPO.
        template, place, instruction: see :class:`Context`; the same as the other context has, or the contrast is one
            of wordings.
    """

    def __init__(self, count: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = _positive(count)

    def accepts(self, rollout: Rollout) -> bool:
        return is_rejected(rollout)

    def shown(self, rollout: Rollout) -> str | None:
        answer, right = rollout.verdict.answer, rollout.problem.answer
        is_right = answer is not None and right is not None and answer.strip() == right.strip()
        return None if is_right else answer

    def around(self, group: Sequence[Rollout], index: int) -> list[Rollout]:
        """The others, then the completion itself."""
        return [*super().around(group, index), group[index]]


def is_rejected(rollout: Rollout) -> bool:
    """Whether the verifier judged a completion and did not pass it."""
    return rollout.verdict.status not in (Status.PASS, Status.ERROR)


def _without(text: str, pattern: TextPattern) -> str:
    kept, end = "", 0
    for match in pattern.matches(text):
        kept, end = kept + text[end : match.start()], match.end()
    return kept + text[end:]


def _positive(count: int) -> int:
    if count < 1:
        raise ValueError(f"Got contrast.count={count}; expected at least 1 (CEPO: 1, RLCSD: 4).")
    return count
