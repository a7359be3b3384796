"""Which problems an iteration learns from: stateless, and the same for every objective on one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rlsd_pl.rollout.sampler import derive_seed
from rlsd_pl.tasks.base import Task
from rlsd_pl.types import Problem


@dataclass(frozen=True)
class ProblemOrder:
    """Training problems by iteration.

    Attributes:
        usable: indices of the problems that can be trained on; ``None`` for an endless task.
        per_iteration: P, over all processes.
        rank, world: this process, and how many there are.
    """

    task: Task
    usable: Sequence[int] | None
    per_iteration: int
    seed: int
    rank: int = 0
    world: int = 1

    def problems(self, iteration: int) -> list[Problem]:
        """This process's share of an iteration's problems."""
        return [
            self._problem(self._index(position)) for position in self._positions(iteration)[self.rank :: self.world]
        ]

    def replacements(self, iteration: int, attempt: int, count: int) -> list[Problem]:
        """``count`` problems that are not the iteration's own, for its ``attempt``-th round of resampling, from 1."""
        first = (attempt - 1) * self.per_iteration + self.rank
        places = [first + self.world * k for k in range(count)]
        if self.usable is None:
            return [self._problem(derive_seed(self.seed, "resample", iteration, place)) for place in places]
        own = {self._index(position) for position in self._positions(iteration)}
        seed = derive_seed(self.seed, "resample", iteration)
        shuffled = [self.usable[i] for i in _permutation(len(self.usable), seed).tolist()]
        # A table of one iteration's problems has no others: then they are drawn again.
        others = [index for index in shuffled if index not in own] or shuffled
        return [self._problem(others[place % len(others)]) for place in places]

    def _positions(self, iteration: int) -> range:
        return range(iteration * self.per_iteration, (iteration + 1) * self.per_iteration)

    def _index(self, position: int) -> int:
        if self.usable is None:
            return derive_seed(self.seed, "problem", position)
        passes, offset = divmod(position, len(self.usable))
        return self.usable[int(_permutation(len(self.usable), derive_seed(self.seed, "order", passes))[offset])]

    def _problem(self, index: int) -> Problem:
        return self.task.problem("train", index)


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
