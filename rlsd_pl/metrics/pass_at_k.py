"""pass@k as a torchmetric."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from rlsd_pl.functional import pass_at_k


class PassAtK(Metric):
    """Mean over problems of the unbiased pass@k estimate (Chen et al., 2107.03374).

    Args:
        k: at most the number of samples per problem.
    """

    higher_is_better = True
    total: Tensor
    problems: Tensor

    def __init__(self, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = k
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("problems", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, samples: Tensor, correct: Tensor) -> None:
        """Add problems: number of samples [P] and how many of them passed [P]."""
        self.total += pass_at_k(samples, correct, self.k).double().sum()
        self.problems += samples.numel()

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return self.total / self.problems
