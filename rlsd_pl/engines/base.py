"""The engine interface: how completions are sampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rlsd_pl.types import Completion, Sampling

if TYPE_CHECKING:
    from rlsd_pl.policy import Policy
else:
    Policy = Any

OnProgress = Callable[[int], None]
"""Called with the number of completions that have finished since the last call."""


OnFinished = Callable[[Sequence[tuple[int, Completion]]], None]
"""Called with completions that are final, each with the index of its prompt: they are verified while others are still
being generated."""


def ignore_progress(finished: int) -> None:
    """The progress callback of someone who does not watch."""


def ignore_finished(finished: Sequence[tuple[int, Completion]]) -> None:
    """The callback of someone who waits for all completions."""


class Engine(ABC):
    """Samples completions from a policy."""

    @abstractmethod
    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_progress: OnProgress = ignore_progress,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        """Sample ``sampling.completions`` completions for each prompt.

        Args:
            policy: the model that generates; its weights are read now, not later.
            prompts: token ids, one sequence per prompt.
            sampling: limits and temperature.
            seed: the draw depends on this, the weights and the prompts alone; the global RNG is left as it was.
            on_progress: told as completions finish.
            on_finished: given completions as soon as they are final. An engine may leave any of them out.

        Returns:
            One list of completions per prompt, in order, with log-probs under the (temperature-scaled) policy.
        """
