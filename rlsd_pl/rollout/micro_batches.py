"""How the rows of an optimizer batch are cut into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.prefix import distinct
from rlsd_pl.types import RolloutBatch


@dataclass(frozen=True)
class RowLengths:
    """What the rows of a batch cost.

    Attributes:
        prompts, completions: tokens, int64 [B].
        prompt: int64 [B], which of the different prompts each row has; equal ones are encoded once per micro-batch.
    """

    prompts: Tensor
    completions: Tensor
    prompt: Tensor

    @classmethod
    def of(cls, batch: RolloutBatch, shared: bool) -> RowLengths:
        """``shared``: whether a forward encodes equal prompts once."""
        which = distinct(batch.prompts)[1] if shared else torch.arange(len(batch))
        return cls(batch.prompts.mask.sum(dim=1), batch.completions.mask.sum(dim=1), which)

    def computed(self, rows: Tensor) -> int:
        """Positions that a forward of these rows computes, padding included."""
        different = len(set(self.prompt[rows].tolist()))
        return different * int(self.prompts[rows].max()) + len(rows) * int(self.completions[rows].max())

    def real(self, rows: Tensor) -> int:
        """The same without padding."""
        prompts = dict(zip(self.prompt[rows].tolist(), self.prompts[rows].tolist(), strict=True))
        return sum(prompts.values()) + int(self.completions[rows].sum())


def cut(rows: Tensor, size: int, lengths: RowLengths) -> list[Tensor]:
    """Rows of one optimizer batch in micro-batches of ``size``, in whichever of two orders takes fewer positions.

    By length, rows of a micro-batch need little padding; by prompt, completions of a group share its encoding. Long
    prompts call for the second, completions of many lengths for the first.

    Args:
        rows: int64, indices into the batch.
    """
    by_length = rows[(lengths.prompts + lengths.completions)[rows].argsort(stable=True)]
    together = by_length[lengths.prompt[by_length].argsort(stable=True)]
    longest = torch.zeros_like(lengths.prompt).scatter_reduce(
        0, lengths.prompt[rows], lengths.completions[rows], "amax"
    )
    by_prompt = together[longest[lengths.prompt[together]].argsort(stable=True)]
    orders = [order.split(size) for order in (by_length, by_prompt)]
    return list(min(orders, key=lambda parts: sum(map(lengths.computed, parts))))


def padding(batches: Sequence[RolloutBatch], shared: bool) -> tuple[float, float]:
    """Positions of these micro-batches that are padding, and all of them."""
    every = [(RowLengths.of(batch, shared), torch.arange(len(batch))) for batch in batches]
    computed = float(sum(lengths.computed(rows) for lengths, rows in every))
    return computed - sum(lengths.real(rows) for lengths, rows in every), computed
