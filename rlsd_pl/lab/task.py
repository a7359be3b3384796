"""The lab's task: problems drawn from a :class:`ChainWorld`."""

from __future__ import annotations

import random
from typing import get_args

from rlsd_pl.lab.demonstrator import Demonstrator
from rlsd_pl.lab.world import ChainWorld, is_held_out, running_values
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import Problem


class ChainTask(Task):
    """Endless, seeded, index-deterministic chains; see :mod:`rlsd_pl.lab.world`.

    Each problem carries the running values as privileged ``solution`` (``"7,4"``) and the last of them as privileged
    ``answer`` (``"4"``), and a flawless privileged ``demonstration``, written as the demonstrator writes. Its metadata
    holds what the verifier needs: ``expression`` and ``misconceptions`` (the facts).

    Args:
        world: operands and misconceptions; the shipped base was pre-trained in the default world.
        seed: selects the stream of problems, not the world.
        val_size: number of validation problems.
        filler: symbols before each step of a demonstration; as many as the policy writes, which learns nothing from
            others: 3, and 5 in the long lab.
    """

    name = "chain"

    def __init__(self, world: ChainWorld | None = None, seed: int = 0, val_size: int = 512, filler: int = 3) -> None:
        if val_size < 1:
            raise ValueError(f"got val_size={val_size}, expected at least 1")
        self.world = world or ChainWorld()
        self.seed = seed
        self.val_size = val_size
        self._misconceptions = tuple(self.world.wrong_results)
        self._flawless = Demonstrator(
            self.world, misconception_rate=0.0, slip_rate=0.0, hinted_share=0.0, filler=filler
        )

    def size(self, split: Split) -> int | None:
        _check_split(split)
        return self.val_size if split == "val" else None

    def problem(self, split: Split, index: int) -> Problem:
        size = self.size(split)
        if index < 0 or (size is not None and index >= size):
            raise IndexError(f"got index {index} of split {split!r}, expected 0..{'' if size is None else size - 1}")
        expression = self._expression(split, index)
        values = [str(value) for value in running_values(expression)]
        return Problem(
            id=f"{self.name}/{split}/{index}",
            messages=({"role": "user", "content": expression},),
            answer=values[-1],
            privileged={
                "solution": ",".join(values),
                "answer": values[-1],
                "demonstration": self._flawless.demonstrate(expression, random.Random(expression)).completion,
            },
            metadata={"expression": expression, "misconceptions": self._misconceptions},
        )

    def _expression(self, split: Split, index: int) -> str:
        rng = random.Random(f"{self.name}/{self.seed}/{split}/{index}")
        while True:
            expression = self.world.sample_expression(rng)
            if is_held_out(expression) == (split == "val"):
                return expression


def _check_split(split: str) -> None:
    if split not in get_args(Split):
        raise ValueError(f"got split {split!r}, expected one of {get_args(Split)}")
