"""Calls of a user's code that do not return: told, and ended after a time."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rlsd_pl.errors import UserCodeError

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 600.0
"""Of one call of a verifier, unless told otherwise."""

WARNINGS = 5
"""How often a call that is still running is told before its time is up."""


def overdue(call: str, waiting: str, since: float, limit: float) -> None:
    """Warn of a call that has not returned.

    Args:
        call: class and method.
        waiting: what it was called for.
        since: ``time.monotonic()`` of the call.
        limit: seconds.

    Raises:
        UserCodeError: if its time is up.
    """
    seconds = time.monotonic() - since
    what = f"{call} has not returned for {seconds:.0f} s, on {waiting}"
    if seconds >= limit:
        raise UserCodeError(f"{what}. Correct it, or raise --data.verify_timeout_seconds, which is {limit:g}.")
    log.warning("%s. The run stops at %g s.", what, limit)


@contextmanager
def watched(call: str, waiting: str, limit: float) -> Iterator[None]:
    """:func:`overdue`, again and again while the block runs; in the main thread, which alone a signal can interrupt.

    An error that the block swallows comes again with the next signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began, interval = time.monotonic(), limit / (WARNINGS + 1)

    def look(number: int, frame: FrameType | None) -> None:
        overdue(call, waiting, began, limit)

    handler = signal.signal(signal.SIGALRM, look)
    left, again = signal.setitimer(signal.ITIMER_REAL, interval, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), again)
