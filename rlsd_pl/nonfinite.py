"""Updates whose gradient is not finite: skipped, counted, and the end of a run where they do not stop."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from rlsd_pl.types import RolloutBatch

log = logging.getLogger(__name__)


class NonFiniteError(FloatingPointError):
    """Too many updates in a row had a gradient that is not finite."""


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of the whole gradient, a scalar: the same on every process, so that all of them skip or none does."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # type: ignore[operator]


class SkippedUpdates:
    """Counts the updates that are skipped in a row.

    Args:
        most: in a row, after which the run stops.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"Got model.max_skipped_updates={most}; expected at least 1.")
        self.most, self.in_a_row = most, 0

    def applied(self) -> None:
        """An update was not skipped."""
        self.in_a_row = 0

    def skip(self, optimizer: torch.optim.Optimizer, iteration: int, norm: Tensor) -> bool:
        """Drop the gradients of an update; returns whether it was one too many.

        Args:
            iteration: counted from 1.
            norm: of the gradient, for the log.
        """
        optimizer.zero_grad(set_to_none=True)  # an optimizer leaves a parameter without gradient alone
        self.in_a_row += 1
        log.warning("Skipped an update of iteration %d: its gradient norm is %s.", iteration, norm.item())
        return self.in_a_row >= self.most

    def error(self, iteration: int, batch: Path) -> NonFiniteError:
        """What ends the run; ``batch`` is where the last micro-batch was saved."""
        return NonFiniteError(
            f"The gradient was not finite in {self.in_a_row} updates in a row, the last in iteration "
            f"{iteration}. The weights are those before these updates. Lower --optimizer.lr, set "
            f"--trainer.gradient_clip_val, or use a wider --trainer.precision. The last micro-batch is in {batch}."
        )


def save_batch(batch: RolloutBatch, path: Path) -> None:
    """A micro-batch as plain tensors, for a look at what broke the loss."""
    kept = {
        "ids": batch.completions.ids,
        "loss_mask": batch.loss_mask,
        "rollout_logprobs": batch.rollout_logprobs,
        "advantages": batch.advantages,
        "token_advantages": batch.token_advantages,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(kept, path)
