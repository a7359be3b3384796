"""Completions of problems that nothing is learnt from: held-out ones, and shifted ones for leakage detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlsd_pl.rollout.sampler import Sampler, derive_seed
from rlsd_pl.types import Problem, Rollout, Sampling, ValidationBatch


@dataclass(frozen=True)
class HeldOutSampler:
    """Verified completions of this process's share of problems.

    The draws are the same each time, so that curves show the policy and not the sampling noise.

    Attributes:
        sampler: the one that rollouts come from.
        sampling: that of rollouts; how many completions, and whether greedy ones, is said with each call.
        seed: of the run.
        rank, world: this process, and how many there are.
    """

    sampler: Sampler
    sampling: Sampling
    seed: int
    rank: int
    world: int

    def evaluated(self, problems: Sequence[Problem], samples: int) -> ValidationBatch:
        """Of each problem a greedy completion and ``samples`` drawn ones."""
        own, counted = share(problems, self.rank, self.world)
        seed = derive_seed(self.seed, "validation", self.rank)
        greedy = replace(self.sampling, completions=1, temperature=0.0)
        answers = self.sampler.sample(own, greedy, seed, "evaluation").groups[:counted]
        if not samples:
            return ValidationBatch([group[0] for group in answers], [])
        sampling = replace(self.sampling, completions=samples)
        sampled = self.sampler.sample(own, sampling, seed, "evaluation").groups[:counted]
        return ValidationBatch([group[0] for group in answers], sampled)

    def shifted(self, problems: Sequence[Problem]) -> list[list[Rollout]]:
        """Of each problem one drawn completion, in a list of its own."""
        own, counted = share(problems, self.rank, self.world)
        seed = derive_seed(self.seed, "shifted", self.rank)
        sampling = replace(self.sampling, completions=1)
        return self.sampler.sample(own, sampling, seed, "shifted problems").groups[:counted]


def share(problems: Sequence[Problem], rank: int, world: int) -> tuple[list[Problem], int]:
    """A process's problems, and how many of them count.

    Sharded, generating is collective: every process completes the same number, and drops what is too many.
    """
    own = list(problems[rank::world])
    padding = problems[: -(-len(problems) // world) - len(own)]
    return [*own, *padding], len(own)
