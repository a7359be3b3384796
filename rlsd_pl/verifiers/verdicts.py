"""Short makers of verdicts; the reason codes are in docs/verifiers.md."""

from __future__ import annotations

from rlsd_pl.types import Status, Verdict
from rlsd_pl.verifiers.extraction import WRONG, Extracted
from rlsd_pl.verifiers.workers.process import Outcome, Reply

MAX_DETAIL = 200

_STATUS_OF = {
    Outcome.TIMEOUT: Status.LIMIT,
    Outcome.MEMORY: Status.LIMIT,
    Outcome.OVERSIZED: Status.LIMIT,
    Outcome.CRASHED: Status.LIMIT,
    Outcome.KILLED: Status.LIMIT,
    Outcome.FAILED: Status.ERROR,
}


def verdict(status: Status, code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """Reward 1 for ``pass``, else 0; ``detail`` is ``code`` or ``code: explanation``, capped."""
    detail = f"{code}: {explanation}" if explanation else code
    return Verdict(reward=float(status is Status.PASS), status=status, detail=detail[:MAX_DETAIL], answer=answer)


def passed(code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """Reward 1."""
    return verdict(Status.PASS, code, explanation, answer)


def failed(code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """Judged wrong."""
    return verdict(Status.FAIL, code, explanation, answer)


def invalid(code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """No usable answer."""
    return verdict(Status.INVALID, code, explanation, answer)


def limited(code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """The output used up time, memory or size."""
    return verdict(Status.LIMIT, code, explanation, answer)


def broken(code: str, explanation: str = "", answer: str | None = None) -> Verdict:
    """The verifier failed; not a score."""
    return verdict(Status.ERROR, code, explanation, answer)


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
    return verdict(_STATUS_OF[reply.outcome], f"worker_{reply.outcome}", reply.detail)
