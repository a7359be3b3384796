"""How rows are cut into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.prefix import distinct
from rlsd_pl.types import PaddedTokens, RolloutBatch


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
    def of(cls, prompts: PaddedTokens, completions: PaddedTokens, shared: bool) -> RowLengths:
        """``shared``: whether a forward encodes equal prompts once."""
        which = distinct(prompts)[1] if shared else torch.arange(len(prompts.ids))
        return cls(prompts.mask.sum(dim=1), completions.mask.sum(dim=1), which)

    def computed(self, rows: Tensor) -> int:
        """Positions that a forward of these rows computes, padding included."""
        different = len(set(self.prompt[rows].tolist()))
        return different * int(self.prompts[rows].max()) + len(rows) * int(self.completions[rows].max())

    def real(self, rows: Tensor) -> int:
        """The same without padding."""
        return sum(self.prompt_lengths(rows).values()) + int(self.completions[rows].sum())

    def prompt_lengths(self, rows: Tensor | None = None) -> dict[int, int]:
        """Tokens of each of the different prompts of these rows, or of all."""
        rows = torch.arange(len(self.prompt)) if rows is None else rows
        return dict(zip(self.prompt[rows].tolist(), self.prompts[rows].tolist(), strict=True))


def cut(rows: Tensor, size: int, lengths: RowLengths) -> list[Tensor]:
    """Rows in micro-batches of ``size``, in whichever of two orders takes fewer positions.

    By length, rows of a micro-batch need little padding; by prompt, completions of a group share its encoding. Long
    prompts call for the second, completions of many lengths for the first.

    Args:
        rows: int64, indices into the batch; those of one optimizer batch.
    """
    orders = [order.split(size) for order in _orders(rows, lengths)]
    return list(min(orders, key=lambda parts: sum(map(lengths.computed, parts))))


def cut_by_tokens(rows: Tensor, budget: int, lengths: RowLengths) -> list[Tensor]:
    """Rows in as few micro-batches as compute at most ``budget`` positions each, in whichever of the two orders takes
    fewer of them; a row beyond the budget stands alone."""
    orders = [_filled(order, budget, lengths) for order in _orders(rows, lengths)]
    return min(orders, key=lambda parts: (len(parts), sum(map(lengths.computed, parts))))


def divided(parts: list[Tensor], count: int) -> list[Tensor]:
    """The same rows in ``count`` micro-batches: the largest are halved. All updates of an epoch accumulate as many."""
    parts = list(parts)
    while len(parts) < count:
        largest = max(range(len(parts)), key=lambda index: len(parts[index]))
        half = -(-len(parts[largest]) // 2)
        parts[largest : largest + 1] = [parts[largest][:half], parts[largest][half:]]
    return parts


def _filled(order: Tensor, budget: int, lengths: RowLengths) -> list[Tensor]:
    parts: list[Tensor] = []
    start = 0
    for end in range(1, len(order) + 1):
        if end - start > 1 and lengths.computed(order[start:end]) > budget:
            parts.append(order[start : end - 1])
            start = end - 1
    return [*parts, order[start:]]


def _orders(rows: Tensor, lengths: RowLengths) -> tuple[Tensor, Tensor]:
    """By length, and by prompt, prompts by their longest completion."""
    by_length = rows[(lengths.prompts + lengths.completions)[rows].argsort(stable=True)]
    together = by_length[lengths.prompt[by_length].argsort(stable=True)]
    longest = torch.zeros_like(lengths.prompt).scatter_reduce(
        0, lengths.prompt[rows], lengths.completions[rows], "amax"
    )
    by_prompt = together[longest[lengths.prompt[together]].argsort(stable=True)]
    return by_length, by_prompt


def padding(batches: Sequence[RolloutBatch], shared: bool) -> tuple[float, float]:
    """Positions of these micro-batches that are padding, and all of them."""
    every = [(RowLengths.of(batch.prompts, batch.completions, shared), torch.arange(len(batch))) for batch in batches]
    computed = float(sum(lengths.computed(rows) for lengths, rows in every))
    return computed - sum(lengths.real(rows) for lengths, rows in every), computed
