"""What an update costs: one real micro-batch forward and backward, and no step of the optimizer."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer

from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.module import PolicyModule
from rlsd_pl.types import MicroBatch, RolloutBatch


@dataclass(frozen=True)
class UpdateCost:
    """Of the micro-batch with the longest sequences.

    Attributes:
        seconds: forward and backward.
        positions: its rows times their width, prompt and padding included.
        per_completion: mean positions of a completion over all micro-batches.
    """

    seconds: float
    positions: int
    per_completion: float

    @property
    def completion_seconds(self) -> float:
        """Of an update, per completion; attention's quadratic part is counted as if it were linear."""
        return self.seconds / self.positions * self.per_completion


def update_cost(trainer: Trainer, module: PolicyModule, data: RolloutDataModule, batch: RolloutBatch) -> UpdateCost:
    """Measure; weights and optimizer stay as they are."""
    cut = data.micro_batches(batch, 0)
    largest = max(cut, key=_positions)
    device = module.policy.device
    if device.type == "cuda":
        _forward_backward(trainer, module, cut[0].to(device))  # the first one compiles and allocates
    start = time.perf_counter()
    _forward_backward(trainer, module, largest.to(device))
    seconds = time.perf_counter() - start
    return UpdateCost(seconds, _positions(largest), sum(map(_positions, cut)) / len(batch))


def _forward_backward(trainer: Trainer, module: PolicyModule, micro: MicroBatch) -> None:
    with trainer.precision_plugin.forward_context():
        loss, _ = module.loss(micro)
    loss.backward()
    for parameter in module.policy.trainable().values():
        parameter.grad = None
    if loss.device.type == "cuda":
        torch.cuda.synchronize(loss.device)


def _positions(micro: MicroBatch) -> int:
    batch = micro.batch
    return len(batch) * (batch.prompts.ids.shape[1] + batch.completions.ids.shape[1])


def peak_bytes(device: torch.device) -> int:
    """Most memory that was in use so far: of tensors on a CUDA device, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
