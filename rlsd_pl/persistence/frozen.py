"""Checkpoints without the weights that training never changes: under LoRA, all but a hundredth of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlsd_pl.persistence.checkpoints import CheckpointError

HASHES = "frozen_hashes"
"""Key of a checkpoint under which the hash of each weight stands that was left out."""


def leave_out(checkpoint: dict[str, Any], frozen: Mapping[str, Tensor]) -> None:
    """Keep a hash in the place of each of these weights, by their names in the checkpoint's ``state_dict``."""
    if frozen:
        checkpoint[HASHES] = {name: _hash(tensor) for name, tensor in frozen.items()}
        checkpoint["state_dict"] = {n: value for n, value in checkpoint["state_dict"].items() if n not in frozen}


def put_back(checkpoint: dict[str, Any], frozen: Mapping[str, Tensor], base: str) -> None:
    """Take the weights that were left out from the model, which has loaded them from ``base``.

    Raises:
        CheckpointError: if they are not those that the run trained on top of.
    """
    for name, expected in checkpoint.get(HASHES, {}).items():
        if name not in frozen or _hash(frozen[name]) != expected:
            raise CheckpointError(
                f"The model at {base} is not the one that this run started from: {name} "
                f"{'has other values' if name in frozen else 'is missing, or is trained now'}. A checkpoint under LoRA "
                f"holds the adapters alone; put the former model back at {base}."
            )
        checkpoint["state_dict"][name] = frozen[name]


def _hash(tensor: Tensor) -> int:
    return int(torch.hash_tensor(tensor.detach()).item())
