"""Checkpoints without the weights that training never changes: under LoRA, all but a hundredth of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlsd_pl.persistence.checkpoints import CheckpointError

HASHES = "frozen_hashes"
"""Key of a checkpoint under which the hash of each weight stands that was left out."""


def hashes_of(frozen: Mapping[str, Tensor]) -> dict[str, int]:
    """A hash of each weight by its name; one that has several names is read once."""
    known: dict[int, int] = {}
    for tensor in frozen.values():
        if tensor.data_ptr() not in known:
            known[tensor.data_ptr()] = int(torch.hash_tensor(tensor).item())
    return {name: known[tensor.data_ptr()] for name, tensor in frozen.items()}


def leave_out(checkpoint: dict[str, Any], hashes: Mapping[str, int]) -> None:
    """Keep a hash in the place of each of these weights, by their names in the checkpoint's ``state_dict``."""
    if hashes:
        checkpoint[HASHES] = dict(hashes)
        checkpoint["state_dict"] = {n: value for n, value in checkpoint["state_dict"].items() if n not in hashes}


def put_back(checkpoint: dict[str, Any], frozen: Mapping[str, Tensor], hashes: Mapping[str, int], base: str) -> None:
    """Take the weights that were left out from the model, which has loaded them from ``base``.

    Raises:
        CheckpointError: if they are not those that the run trained on top of.
    """
    for name, expected in checkpoint.get(HASHES, {}).items():
        if hashes.get(name) != expected:
            raise CheckpointError(
                f"The model at {base} is not the one that this run started from: {name} "
                f"{'has other values' if name in hashes else 'is missing, or is trained now'}. A checkpoint under LoRA "
                f"holds the adapters alone; put the former model back at {base}."
            )
        checkpoint["state_dict"][name] = frozen[name]
