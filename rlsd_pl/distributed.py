"""What differs when several processes train one policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

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


def shard(policy: Policy, mesh: DeviceMesh) -> None:
    """FSDP2: each decoder layer is a unit, the rest (embeddings, norm, head) is the root's.

    The root is freed after each forward too: its gathered copy would otherwise outlive a teacher's weights.
    """
    layers = cast(nn.ModuleList, policy.causal_lm.get_decoder().layers)
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(policy, "generate")
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
