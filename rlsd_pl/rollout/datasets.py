"""What a DataLoader reads of a rollout loop: a list, and held-out completions that are made when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch.utils.data import Dataset

from rlsd_pl.types import ValidationBatch

T = TypeVar("T")


class ListDataset(Dataset[T]):
    """A sized dataset over a list. Sized, because Lightning prefetches a loader without a length: off by one step."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]


class HeldOutDataset(Dataset[ValidationBatch]):
    """One batch: held-out problems, completed when the batch is read, with the weights of that moment.

    Not earlier: Lightning keeps the loader from the evaluation before training for the first one after it.
    """

    def __init__(self, complete: Callable[[], ValidationBatch]) -> None:
        self.complete = complete

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> ValidationBatch:
        if index:
            raise IndexError(index)
        return self.complete()
