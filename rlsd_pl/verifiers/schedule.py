"""One event loop for everything that runs in child processes: requests to the worker pool, programs in the sandbox.

A job is a generator that yields a request, is sent what became of it, and returns its result; retries are loops in it.
:class:`Slots` know the processes. Which request runs next and under which limits is decided here.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from rlsd_pl.verifiers.budget import Budget

Q = TypeVar("Q")
Q_in = TypeVar("Q_in", contravariant=True)
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended(Generic[R]):
    """What became of a request.

    Attributes:
        job: number of the job that asked.
        result: what the job is sent; ``None`` puts the request back into its queue, as if it had not run.
        shortened: whether only short limits ended it, so that it may run again under the full ones.
        cost: seconds that the batch lost to it.
    """

    job: int
    result: R | None
    shortened: bool = False
    cost: float = 0.0


class Slots(Protocol[Q_in, R]):
    """Processes that take requests. Their descriptors are registered with the selector of :func:`run_all`.

    The data of a key is a function without arguments; it is called when the descriptor is ready.
    """

    def has_room(self, waiting: int) -> bool:
        """Whether a request may start now; ``waiting`` of them would."""
        ...

    def start(self, job: int, request: Q_in, short: bool) -> None:
        """Start a request, under short limits if ``short``; if that fails, :meth:`collect` says so."""
        ...

    def wake_at(self) -> float:
        """The monotonic time at which :meth:`collect` is due, whether or not a descriptor is ready."""
        ...

    def collect(self) -> list[Ended[R]]:
        """End what is over its time; all that ended since the last call."""
        ...

    def refuse(self, result: R, budget: Budget) -> R:
        """The final form of a ``result`` under short limits: one that says that they were shortened."""
        ...

    def close(self) -> None:
        """End what is under way."""
        ...


def run_all(
    jobs: Sequence[Generator[Q, R, T]], slots: Slots[Q, R], budget: Budget, selector: selectors.BaseSelector
) -> list[T]:
    """Results of all jobs, in order. Nothing is under way when it returns or raises."""
    try:
        return _Schedule(jobs, slots, budget, selector).run()
    finally:
        slots.close()


class _Schedule(Generic[Q, R, T]):
    def __init__(
        self, jobs: Sequence[Generator[Q, R, T]], slots: Slots[Q, R], budget: Budget, selector: selectors.BaseSelector
    ) -> None:
        self._jobs, self._slots, self._budget, self._selector = jobs, slots, budget, selector
        self._first, self._again = deque(range(len(jobs))), deque[int]()
        self._requests: dict[int, Q] = {}
        self._shortened: dict[int, R] = {}  # results under short limits, until the second attempt
        self._results: dict[int, T] = {}

    def run(self) -> list[T]:
        while len(self._results) < len(self._jobs):
            self._start()
            for key, _ in self._selector.select(max(0.0, self._slots.wake_at() - time.monotonic())):
                key.data()
            for ended in self._slots.collect():
                self._settle(ended)
        return [self._results[number] for number in range(len(self._jobs))]

    def _start(self) -> None:
        while self._again and self._budget.spent:
            number = self._again.popleft()
            self._advance(number, self._slots.refuse(self._shortened.pop(number), self._budget))
        while (waiting := len(self._first) + len(self._again)) and self._slots.has_room(waiting):
            number = (self._first or self._again).popleft()
            if number in self._requests:
                short = self._budget.tight and number not in self._shortened
                self._slots.start(number, self._requests[number], short)
            else:
                self._advance(number, None)

    def _settle(self, ended: Ended[R]) -> None:
        number = ended.job
        self._budget.lost += ended.cost
        if ended.result is None:
            (self._again if number in self._shortened else self._first).append(number)
        elif ended.shortened:
            self._shortened[number] = ended.result
            self._again.append(number)
        else:
            self._shortened.pop(number, None)
            self._advance(number, ended.result)

    def _advance(self, number: int, result: R | None) -> None:
        """Let a job go on, from its begin if ``result`` is ``None``; its next request is the next to run."""
        send: Any = self._jobs[number].send
        try:
            self._requests[number] = send(result)
        except StopIteration as end:
            self._requests.pop(number, None)
            self._results[number] = end.value
        else:
            self._first.appendleft(number)
