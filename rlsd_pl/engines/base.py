"""The engine interface: how completions are sampled."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from rlsd_pl.collectives import Sums
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Sampling

OnFinished = Callable[[Sequence[tuple[int, Completion]]], None]
"""Called with completions that are final, each with the index of its prompt, while others are still being generated:
they are verified and counted in the meantime."""


def ignore_finished(finished: Sequence[tuple[int, Completion]]) -> None:
    """For callers that need the completions only when all are there."""


def hand_over(groups: Sequence[Sequence[Completion]], on_finished: OnFinished) -> None:
    """All completions at once, for engines that could not tell of them earlier."""
    on_finished([(place, completion) for place, group in enumerate(groups) for completion in group])


NOT_FINITE = (
    "The policy's logits are not finite while sampling, so its weights are of no use. Resume from an earlier "
    "checkpoint with a lower --optimizer.lr, or check the model folder."
)


def made(policy: Policy, token_ids: Sequence[int], logprobs: Sequence[float]) -> Completion:
    """A completion that is final.

    Raises:
        FloatingPointError: for log-probs that are not finite.
    """
    if not all(map(math.isfinite, logprobs)):
        raise FloatingPointError(NOT_FINITE)
    return Completion(
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs),
        text=policy.decode(token_ids),
        truncated=token_ids[-1] not in policy.stop_ids,
    )


class Engine(ABC):
    """Samples completions from a policy.

    An engine within the trainer's process reads the policy's weights as they are. One that holds a copy of them, in a
    server for example, needs the calls around :meth:`generate`.
    """

    @abstractmethod
    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        """Sample ``sampling.completions`` completions for each prompt.

        Args:
            policy: the model that generates; its weights are read now, not later.
            prompts: token ids, one sequence per prompt.
            sampling: limits and temperature.
            seed: the draw depends on this, the weights and the prompts alone; the global RNG is left as it was.
            on_finished: given completions as soon as they are final; the same objects that are returned.

        Returns:
            One list of completions per prompt, in order, with log-probs under the (temperature-scaled) policy.
        """

    def bind(self, policy: Policy) -> None:
        """Called once, before the first completion."""
        return

    def weights_changed(self) -> None:
        """Called after the updates of an iteration, before completions are asked for again."""
        return

    def metrics(self) -> Sums:
        """Weighted sums of what was measured since the last call, logged with the rollout; none by default."""
        return {}

    def close(self) -> None:
        """Called when the run ends, by an error too."""
        return
