"""What differs when several processes train one policy."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from rlsd_pl.persistence.checkpoint_io import own_digests, put_in_place, tensors_only
from rlsd_pl.persistence.storage import PARTIAL, remove
from rlsd_pl.policy import Policy


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
