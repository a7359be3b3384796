"""Which token of a completion has which evidence: controls that keep the values and take away what they say.

Both reorder a completion's evidence, so its weights are the same numbers in other places. What a method still gains
with them is owed to the numbers, and not to what the teacher knows of each token.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor


class EvidencePlacement(ABC):
    """A reordering of the evidence of each completion, by itself."""

    def __call__(self, delta: Tensor, ids: Tensor, mask: Tensor, iteration: int) -> Tensor:
        """Evidence [B, T] in nats in its new places.

        Args:
            delta: [B, T] evidence in nats.
            ids: int64 [B, T], the sampled tokens.
            mask: bool [B, T], the tokens among which evidence moves; it stays where it is elsewhere.
            iteration: 0-based.
        """
        placed = delta.clone()
        for row, places in enumerate(mask.bool()):
            placed[row, places] = delta[row, places][self.order(ids[row, places], iteration)]
        return placed

    @abstractmethod
    def order(self, ids: Tensor, iteration: int) -> Tensor:
        """int64 [N]: which of a completion's N tokens each of them has its evidence from.

        Args:
            ids: int64 [N].
            iteration: 0-based.
        """


@dataclass(frozen=True)
class Permuted(EvidencePlacement):
    """``Delta'_t = Delta_{pi(t)}``, pi a random permutation of the completion's tokens, another one in each iteration.

    It follows from the seed, the iteration and the sampled ids: neither the number of processes nor the order of
    completions changes it, and a resumed run draws the same. Our own, a control.

    >>> mask = torch.ones(1, 5, dtype=torch.bool)
    >>> Permuted()(torch.arange(5.0)[None], torch.arange(5)[None], mask, iteration=0).sort().values
    tensor([[0., 1., 2., 3., 4.]])
    """

    seed: int = 0

    def order(self, ids: Tensor, iteration: int) -> Tensor:
        tokens = cast(list[int], ids.tolist())  # pyright: ignore[reportUnknownMemberType]
        seed = zlib.crc32(f"{self.seed}/{iteration}/{tokens}".encode())
        return torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Shifted(EvidencePlacement):
    """``Delta'_t = Delta_{t - by}`` around the completion: the first tokens have the evidence of the last ones.

    Scores that are off by one token, a mistake of public code, planted on purpose. Our own, a control.

    Attributes:
        by: tokens, to the right; negative to the left.

    >>> Shifted()(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 3), torch.ones(1, 3), iteration=0)
    tensor([[3., 1., 2.]])
    """

    by: int = 1

    def order(self, ids: Tensor, iteration: int) -> Tensor:
        return torch.arange(len(ids)).roll(self.by)
