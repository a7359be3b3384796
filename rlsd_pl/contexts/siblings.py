"""Contexts made of the other completions of the group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from rlsd_pl.contexts.base import DEFAULT_TEMPLATE, Context
from rlsd_pl.patterns import TextPattern
from rlsd_pl.types import Rollout, Status

SIBLING_TEMPLATE = """\
{{ prompt }}

Here is an attempt at this problem:
<attempt>
{{ privileged }}
</attempt>
Reply as if you had worked it out yourself, step by step, without mentioning the attempt."""

FINAL_ANSWER = r"\\boxed\{([^{}]*)\}|#{1,4}[ \t]*([^\s#]+)"
"""The answer in ``\\boxed{...}`` or behind ``#``; for :class:`RejectedSiblings` that show answers only."""


class SiblingContext(Context):
    """Text of other completions of the same problem, never of the completion itself.

    Args:
        pattern: regular expression; what its groups match (the whole match without groups) is shown, every match in
            turn. A sibling without a match is passed over. ``None`` shows the whole text.
        joint: stands between the matches.
        template: see :class:`Context`.
    """

    def __init__(self, pattern: str | None = None, joint: str = ",", template: str = SIBLING_TEMPLATE) -> None:
        super().__init__(template)
        self.pattern = None if pattern is None else TextPattern(pattern, "pattern")
        self.joint = joint

    @abstractmethod
    def accepts(self, rollout: Rollout) -> bool:
        """Whether this completion may be shown."""

    def privileged(self, group: Sequence[Rollout], index: int) -> str | None:
        """See :meth:`Context.privileged`."""
        return next(iter(self.alternatives(group, index)), None)

    def alternatives(self, group: Sequence[Rollout], index: int) -> list[str]:
        """Up to ``count`` texts, from the next completion on around the group, so that not all see the same one."""
        around = [*group[index + 1 :], *group[:index]]
        texts = (self.shown(rollout.completion.text) for rollout in around if self.accepts(rollout))
        return [text for text in texts if text.strip()][: self.count]

    def shown(self, text: str) -> str:
        """What of a completion's text is shown; empty for nothing."""
        if self.pattern is None:
            return text
        found = (next((g for g in m.groups() if g is not None), m.group()) for m in self.pattern.matches(text))
        return self.joint.join(found)


class SuccessfulSibling(SiblingContext):
    """r is another completion of the group that the verifier passed (SDPO 2601.20802).

    A completion without a successful sibling has no context.
    """

    def accepts(self, rollout: Rollout) -> bool:
        """See :meth:`SiblingContext.accepts`."""
        return rollout.verdict.status is Status.PASS


class RejectedSiblings(SiblingContext):
    """Other completions of the group that the verifier judged and did not pass, for contrast.

    Args:
        count: most siblings per completion; 1 for CEPO (2605.19436), 4 for RLCSD (2606.11709).
        pattern: see :class:`SiblingContext`; ``rlsd_pl.contexts.siblings.FINAL_ANSWER`` shows answers only.
        joint: stands between the matches.
        template: see :class:`Context`; the same as the teacher's context has, or the contrast is one of wordings.
    """

    def __init__(
        self, count: int = 4, pattern: str | None = None, joint: str = ",", template: str = DEFAULT_TEMPLATE
    ) -> None:
        super().__init__(pattern, joint, template)
        if count < 1:
            raise ValueError(f"Got contrast.count={count}; expected at least 1 (CEPO: 1, RLCSD: 4).")
        self.count = count

    def accepts(self, rollout: Rollout) -> bool:
        """See :meth:`SiblingContext.accepts`."""
        return rollout.verdict.status not in (Status.PASS, Status.ERROR)
