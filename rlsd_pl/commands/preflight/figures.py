"""Shares with their intervals, and other figures of a small sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchmetrics.functional.classification import binary_auroc

from rlsd_pl.functional import ShareInterval, wilson_interval
from rlsd_pl.types import Rollout

CONFIDENCE = 0.95
"""Of every interval that is shown."""


@dataclass(frozen=True)
class Share:
    """A share that was seen in a sample.

    Attributes:
        seen: how many.
        total: of how many; 0 where there was nothing to look at.
        effective: how many independent draws they are worth; ``None`` for all of them.
    """

    seen: float
    total: int
    effective: float | None = None

    @property
    def value(self) -> float:
        return self.seen / self.total if self.total else 0.0

    @property
    def interval(self) -> ShareInterval:
        """Wilson's, 95 %; [0, 1] where there was nothing to look at."""
        n = self.total if self.effective is None else self.effective
        return wilson_interval(self.value, n, CONFIDENCE) if n else ShareInterval(0.0, 1.0)

    def __str__(self) -> str:
        if not self.total:
            return "-"
        low, high = self.interval
        return f"{self.value:.0%} ({low:.0%} to {high:.0%})"


def share(flags: Sequence[bool]) -> Share:
    """Of independent draws."""
    return Share(sum(flags), len(flags))


def accuracy(groups: Sequence[Sequence[Rollout]]) -> Share:
    """Share of right completions (reward 1), the estimate of pass@1."""
    return clustered([[rollout.verdict.reward == 1.0 for rollout in group] for group in groups])


def clustered(groups: Sequence[Sequence[bool]]) -> Share:
    """A share over the completions of some problems, of which those of one problem resemble one another.

    They are worth n / deff independent draws, deff being the variance of the mean of the groups over that of as many
    independent draws, within [P, n]; P where all completions are alike, since then nothing tells them from P draws.
    Source: Kish, Survey Sampling, 1965, chapter 5.4 (design effect of cluster samples).

    Args:
        groups: one sequence per problem, none empty.
    """
    flags = [flag for group in groups for flag in group]
    if not flags:
        return Share(0, 0)
    seen, n, problems = sum(flags), len(flags), len(groups)
    value = seen / n
    means = torch.tensor([sum(group) / len(group) for group in groups], dtype=torch.float64)
    spread = float(means.var()) / problems if problems > 1 else 0.0
    if problems == 1 or value in (0.0, 1.0):
        return Share(seen, n, float(problems))
    worth = value * (1 - value) / spread if spread else float(n)
    return Share(seen, n, min(max(worth, float(problems)), float(n)))


def auroc(right: Sequence[float], wrong: Sequence[float]) -> float | None:
    """The chance that one of ``right`` lies above one of ``wrong``, ties half; ``None`` where one of them is empty."""
    if not right or not wrong:
        return None
    # torchmetrics takes scores outside of [0, 1] for logits and squashes them, so their ranks are given in their place.
    _, ranks = torch.tensor([*right, *wrong], dtype=torch.float64).unique(return_inverse=True)
    labels = torch.tensor([1] * len(right) + [0] * len(wrong))
    return float(binary_auroc(ranks.double() / max(int(ranks.max()), 1), labels))


def quantiles(values: Sequence[float], at: Sequence[float] = (0.1, 0.5, 0.9, 1.0)) -> list[float]:
    """Of a sample that is not empty, linearly between its members."""
    return torch.quantile(torch.tensor(values, dtype=torch.float64), torch.tensor(at, dtype=torch.float64)).tolist()
