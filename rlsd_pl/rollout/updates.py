"""A rollout cut into optimizer updates, and these into micro-batches with the count of their whole update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsd_pl.collectives import global_max, global_sum
from rlsd_pl.objectives.parts import Reduction
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.micro_batches import RowLengths, cut, cut_by_tokens, divided, padding
from rlsd_pl.types import MicroBatch, RolloutBatch


@dataclass(frozen=True)
class UpdateCutter:
    """Cuts rollouts as a run is set to.

    Attributes:
        policy: what computes the micro-batches; whether it encodes equal prompts once decides which rows go together.
        reduction: the objective's, which counts what its sum is divided by.
        temperature: of sampling.
        updates: per rollout; with several, rows are shuffled.
        micro_batch_size: completions per micro-batch, where no budget is set.
        micro_batch_tokens: budget of positions per micro-batch; how many these are then depends on the rollout.
    """

    policy: Policy
    reduction: Reduction
    temperature: float
    updates: int
    micro_batch_size: int
    micro_batch_tokens: int | None = None

    def cut(self, batch: RolloutBatch, seed: int) -> list[MicroBatch]:
        """Micro-batches, update by update; each update has as many, on all processes.

        Args:
            seed: of the shuffling.
        """
        rows = torch.arange(len(batch))
        if self.updates > 1:
            rows = torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))
        updates = rows.chunk(self.updates)
        lengths = RowLengths.of(batch.prompts, batch.completions, self._shares_prefixes)
        micro: list[MicroBatch] = []
        for update, parts in zip(updates, self._parts(updates, lengths), strict=True):
            count = global_sum(self.reduction.count(batch.loss_mask[update]).item(), self.policy.device)
            for part in map(batch.select, parts):
                micro.append(MicroBatch(part, count, self.temperature, int(part.loss_mask.sum())))
        return micro

    def padding(self, micro: Sequence[MicroBatch]) -> tuple[float, float]:
        """Positions of these micro-batches that are padding, and all of them."""
        return padding([part.batch for part in micro], self._shares_prefixes)

    def _parts(self, updates: Sequence[Tensor], lengths: RowLengths) -> list[list[Tensor]]:
        """The rows of each micro-batch of each update."""
        if self.micro_batch_tokens is None:
            return [cut(update, self.micro_batch_size, lengths) for update in updates]
        parts = [cut_by_tokens(update, self.micro_batch_tokens, lengths) for update in updates]
        count = global_max(max(map(len, parts)), self.policy.device)
        return [divided(own, count) for own in parts]

    @property
    def _shares_prefixes(self) -> bool:
        return self.policy.shares_prefixes(gradients=True)
