"""What differs when several processes train one policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from rlsd_pl.persistence.checkpoint_io import own_digests, put_in_place, tensors_only
from rlsd_pl.persistence.storage import PARTIAL, remove
from rlsd_pl.policy import Policy

Sums = Mapping[str, tuple[float, float]]
"""Weighted sums by name: (sum of value * weight, sum of weights)."""


class FSDP2Strategy(ModelParallelStrategy):
    """FSDP2 over all processes: Lightning's ModelParallelStrategy with nothing but data parallelism.

    Args:
        save_distributed_checkpoint: True writes one shard per process (a folder); False gathers one file on rank 0.
    """

    def __init__(self, save_distributed_checkpoint: bool = True) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=save_distributed_checkpoint)

    def setup_environment(self) -> None:
        """Shard over every process there is."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Shards are written beside the target, with checksums, and get its name when all of them are on the disk."""
        if not self._save_distributed_checkpoint:
            return super().save_checkpoint(checkpoint, filepath, storage_options)
        target = Path(self.broadcast(filepath))
        partial = target.with_name(f"{target.name}{PARTIAL}")
        if self.global_rank == 0:
            remove(partial)
        self.barrier()
        super().save_checkpoint(checkpoint, partial, storage_options)
        digests: list[dict[str, str]] = [{}] * self.world_size
        dist.all_gather_object(digests, own_digests(partial, target.name, self.global_rank))
        if self.global_rank == 0:
            put_in_place(partial, target, {name: digest for own in digests for name, digest in own.items()})
        return self.barrier()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Tensors and plain values only: a checkpoint may be somebody else's."""
        path = Path(checkpoint_path)
        with tensors_only(path) if path.is_dir() else nullcontext():
            return super().load_checkpoint(checkpoint_path, weights_only=True)


def shard(policy: Policy, mesh: DeviceMesh) -> None:
    """FSDP2: each decoder layer is a unit, the rest (embeddings, norm, head) is the root's.

    The root is freed after each forward too: its gathered copy would otherwise outlive a teacher's weights.
    """
    layers = cast(nn.ModuleList, policy.causal_lm.get_decoder().layers)
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(policy, "gathered")
    register_fsdp_forward_method(policy, "teacher_states")
    policy.sharded = True


def process_count() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def global_sum(value: float, device: torch.device | str) -> float:
    """Sum over all processes, in float64."""
    if process_count() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.item()


def global_means(sums: Sums) -> dict[str, float]:
    """Weighted means over all processes. A name that only some processes have is averaged over those."""
    gathered: list[Sums] = [sums]
    if process_count() > 1:
        gathered = [{} for _ in range(process_count())]
        dist.all_gather_object(gathered, sums)
    return _means(gathered)


def _means(parts: Iterable[Sums]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (total, weight) in part.items():
            seen_total, seen_weight = totals.get(name, (0.0, 0.0))
            totals[name] = (seen_total + total, seen_weight + weight)
    return {name: total / weight for name, (total, weight) in totals.items() if weight > 0}
