"""What the verifier said, as a context."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.contexts.base import Context
from rlsd_pl.types import Rollout, Status


class VerifierFeedback(Context):
    """r is the verifier's ``detail`` on this very completion (SDPO 2601.20802).

    A completion that passed, that the verifier failed on, or of which it said nothing has no context. Mind that a
    detail may hold the expected answer.

    Args:
        template, place, instruction: see :class:`Context`.
    """

    words = """\
An earlier attempt at this was judged as follows:
<feedback>
{{ privileged }}
</feedback>
Reply as if you had worked it out yourself, step by step, without mentioning the feedback."""

    def privileged(self, group: Sequence[Rollout], index: int) -> str | None:
        verdict = group[index].verdict
        if verdict.status in (Status.PASS, Status.ERROR) or not verdict.detail.strip():
            return None
        return verdict.detail
