"""What a batch may lose to requests that reach their limits; the worker pool and the sandbox share this rule."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, fields
from typing import Any

_log = logging.getLogger(__name__)

MOST = 1 << 50
"""Largest limit of anything but a batch's time: a pebibyte, or more seconds than anybody waits."""


def check_limits(limits: Any) -> None:
    """Raise a ValueError for a limit that is not above 0, no number, or beyond sense; ``batch_seconds`` may be inf."""
    for field in fields(limits):
        value = getattr(limits, field.name)
        endless = field.name == "batch_seconds" and value == math.inf
        if not (0 < value <= MOST or endless):
            raise ValueError(f"Got limits.{field.name}={value}; expected a number above 0 and at most {MOST}.")


@dataclass
class Budget:
    """Keeps requests that run into their limits from holding up the others of their batch.

    Until half of ``seconds`` is lost, every request has its full limits. From then on each gets short limits first.
    What reaches those waits until all others are judged, and then runs again under the full limits while the second
    half lasts. What is left is a ``limit`` that says so, never an ``error``: a request that needs less than the short
    limits is judged as if it were alone, and the rest compete for what is left.

    Attributes:
        seconds: what may be lost, of the time of one worker or CPU.
        lost: what was lost under full limits so far.
        unpaid: requests whose verdict is a short limit's.
    """

    seconds: float
    lost: float = 0.0
    unpaid: int = 0

    @property
    def tight(self) -> bool:
        """Whether the next request gets short limits first."""
        return self.lost >= self.seconds / 2

    @property
    def spent(self) -> bool:
        """Whether nothing is left for full limits."""
        return self.lost >= self.seconds

    def refuse(self, limit: str) -> str:
        """The explanation of a verdict under the short ``limit``; counts it."""
        self.unpaid += 1
        return f"shortened to {limit}, after others of the batch had used up {self.lost:.0f} s at their limits"

    def report(self, what: str) -> None:
        """One warning for a batch whose limits were shortened."""
        if self.tight:
            _log.warning(
                "%s that reached their limits cost %.0f s of this batch, so the limits of the rest were shortened; "
                "%d were judged limit under the short ones (raise batch_seconds to spend more on them)",
                what, self.lost, self.unpaid,
            )  # fmt: skip
