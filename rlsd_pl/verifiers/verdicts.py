"""Short makers of verdicts; the reason codes are in docs/verifiers.md."""

from __future__ import annotations

from functools import partial

from rlsd_pl.types import Status, Verdict
from rlsd_pl.verifiers.extraction import WRONG, Extracted
from rlsd_pl.verifiers.workers.process import Outcome, Reply

MAX_DETAIL = 200


def verdict(status: Status, code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """Reward 1 for ``pass``, else 0; ``detail`` is ``code`` or ``code: explanation``, capped."""
    detail = f"{code}: {explanation}" if explanation else code
    return Verdict(reward=float(status is Status.PASS), status=status, detail=detail[:MAX_DETAIL], answer=answer)


passed = partial(verdict, Status.PASS)
"""Reward 1."""
failed = partial(verdict, Status.FAIL)
"""Judged wrong."""
invalid = partial(verdict, Status.INVALID)
"""No usable answer."""
limited = partial(verdict, Status.LIMIT)
"""The output used up time, memory or size."""
broken = partial(verdict, Status.ERROR)
"""The verifier failed; not a score."""


def refusal(found: Extracted) -> Verdict | None:
    """The verdict on a completion without an answer; ``None`` if it has one."""
    if found.missing is None:
        return None
    return failed(found.missing) if found.missing in WRONG else invalid(found.missing)


def unless_value(reply: Reply) -> Verdict | None:
    """The verdict of a reply that brings no value: what the model's output caused is a limit, the rest an error.

    A crash (segfault, stack overflow) that happens twice on one request is the request's doing. So is, for want of a
    better explanation, the fifth kill: whatever brought it about must not take a sample out of the loss.
    """
    if reply.outcome is Outcome.VALUE:
        return None
    status = Status.ERROR if reply.outcome is Outcome.FAILED else Status.LIMIT
    return verdict(status, f"worker_{reply.outcome}", reply.detail)
