"""What tests watch of the operations that torch dispatches: memory that is alive, and waits for a device."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Bytes of everything that operations return within the context.

    Attributes:
        largest: of one tensor's storage.
        peak: alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.peak = self.alive = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.alive += size
        self.largest, self.peak = max(self.largest, size), max(self.peak, self.alive)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size


class _Methods(TorchFunctionMode):
    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("tolist", "cpu", "numpy"):
            self.counts[func.__name__] += 1
        return func(*args, **(kwargs or {}))


class Waits(TorchDispatchMode):
    """Operations for whose result, or for whose shape of the result, Python has to wait for a GPU."""

    WAITING = (
        *("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique", "_unique2", "unique_consecutive"),
        *("equal", "repeat_interleave.Tensor", "is_pinned", "bincount"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.methods = _Methods(self.counts)

    def __enter__(self) -> Waits:
        self.methods.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.methods.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name.startswith(("index.", "index_put", "index")) and len(args) > 1 else ()
        by_mask = isinstance(indices, list | tuple) and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in indices
        )
        if name in self.WAITING or by_mask:
            self.counts["a mask as an index" if by_mask else name] += 1
        return func(*args, **(kwargs or {}))
