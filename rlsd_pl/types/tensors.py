"""Padded token ids, and what all dataclasses of tensors with a row per completion can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class PaddedTokens:
    """Token ids of several sequences with their mask.

    What depends on their values (``places``, ``different``) is found on the CPU before they move to a device: there,
    each would have to wait for all that is queued.

    Attributes:
        ids: int64 [B, L].
        mask: bool [B, L], True at real tokens. Prompts are padded on the left, completions on the right.
    """

    ids: Tensor
    mask: Tensor

    @classmethod
    def prompts(cls, rows: Sequence[Sequence[int]], pad: int) -> PaddedTokens:
        """Pad on the left to the longest row."""
        longest = max(map(len, rows))
        return cls(
            torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows]),
            torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows]),
        )

    @classmethod
    def completions(cls, rows: Sequence[Sequence[int]], pad: int) -> PaddedTokens:
        """Pad on the right to the longest row."""
        longest = max(map(len, rows))
        return cls(
            torch.tensor([list(row) + [pad] * (longest - len(row)) for row in rows]),
            torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows]),
        )

    def rows(self, rows: Tensor) -> PaddedTokens:
        """Some of the rows, trimmed on the side of the padding."""
        ids, mask = self.ids[rows], self.mask[rows]
        used = mask.any(dim=0)
        return PaddedTokens(ids[:, used], mask[:, used])

    @cached_property
    def places(self) -> Tensor:
        """int64 [N]: where the real tokens stand in the flattened batch, row by row."""
        return self.mask.flatten().nonzero().squeeze(1)

    @cached_property
    def different(self) -> tuple[Tensor, Tensor]:
        """int64 [P], a row for each of the different sequences, and int64 [B], which of these each row is."""
        keys = self.ids.masked_fill(~self.mask, -1)
        which = cast(Tensor, torch.unique(keys, dim=0, return_inverse=True)[1])  # pyright: ignore
        rows = torch.arange(len(keys), device=keys.device)
        return rows.new_zeros(int(which.max()) + 1).scatter_reduce(0, which, rows, "amin", include_self=False), which

    def to(self, device: torch.device | str) -> PaddedTokens:
        """The same on another device, with what is known of it."""
        if self.ids.device == torch.device(device):
            return self
        moved = PaddedTokens(self.ids.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))
        first, which = (indices.to(device, non_blocking=True) for indices in self.different)
        vars(moved).update(places=self.places.to(device, non_blocking=True), different=(first, which))
        return moved


PER_TOKEN = {"per_token": True}
"""Metadata of fields whose last dimension is T: they are trimmed with the completions when rows are selected."""


class TensorRows:
    """What dataclasses of tensors with B rows share; nested ones are followed, and mappings to tensors per token."""

    __slots__ = ()

    def mapped(self, tensor: Callable[[Tensor], Tensor], padded: Callable[[PaddedTokens], PaddedTokens]) -> Self:
        """The same with each tensor, and each pair of ids and mask, put through a function of its kind."""
        changed: dict[str, Any] = {}
        for f in fields(cast(Any, self)):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = tensor(value)
            elif isinstance(value, PaddedTokens):
                changed[f.name] = padded(value)
            elif isinstance(value, TensorRows):
                changed[f.name] = value.mapped(tensor, padded)
            elif isinstance(value, Mapping):
                named = cast(Mapping[str, Tensor], value)
                changed[f.name] = {name: tensor(each) for name, each in named.items()}
        return replace(cast(Any, self), **changed)

    def trimmed(self, width: int) -> Self:
        """The tensors per token cut to ``width``."""
        changed: dict[str, Any] = {}
        for f in fields(cast(Any, self)):
            value = getattr(self, f.name)
            if isinstance(value, TensorRows):
                changed[f.name] = value.trimmed(width)
            elif isinstance(value, Mapping):
                named = cast(Mapping[str, Tensor], value)
                changed[f.name] = {name: each[..., :width] for name, each in named.items()}
            elif value is not None and f.metadata.get("per_token"):
                changed[f.name] = value[..., :width]
        return replace(cast(Any, self), **changed)
