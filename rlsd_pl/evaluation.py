"""Accuracy on held-out problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torchmetrics import MeanMetric

from rlsd_pl.distributed import global_means
from rlsd_pl.engines import OnProgress
from rlsd_pl.metrics import PassAtK
from rlsd_pl.rollout.collector import RolloutCollector, rollout_sums
from rlsd_pl.types import Rollout

if TYPE_CHECKING:
    from rlsd_pl.datamodule import ValidationItem


class Evaluation(nn.Module):
    """Greedy accuracy, and over ``samples`` draws per problem avg@k and pass@k; keys ``val/``.

    The completions of the last evaluation stay in ``greedy`` and ``sampled`` for callbacks to look at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.greedy_accuracy, self.sampled_accuracy = MeanMetric(), MeanMetric()
        self.pass_at_k: PassAtK | None = None
        self.samples = 0
        self.greedy: list[Rollout] = []
        self.sampled: list[list[Rollout]] = []

    def start(self, samples: int) -> None:
        """Reset; ``samples`` draws per problem from now on, 0 for greedy only."""
        self.greedy_accuracy.reset()
        self.sampled_accuracy.reset()
        self.samples = samples
        self.pass_at_k = PassAtK(samples).to(self.greedy_accuracy.device) if samples else None
        self.greedy, self.sampled = [], []

    def update(
        self, items: Sequence[ValidationItem], collector: RolloutCollector, seed: int, on_progress: OnProgress
    ) -> None:
        """Complete and verify these problems; an item that is not counted is computed and dropped."""
        counted = [item.counted for item in items]
        self.greedy += [group[0] for group in self._rollouts(items, collector, seed, 1, 0.0, on_progress) if group]
        rewards = [r.verdict.reward for r in self.greedy[-sum(counted) :]]
        self.greedy_accuracy.update(torch.tensor(rewards))
        if self.pass_at_k is None:
            return
        groups = self._rollouts(items, collector, seed, self.samples, collector.sampling.temperature, on_progress)
        groups = [group for group in groups if group]
        self.sampled += groups
        rewards = torch.tensor([[r.verdict.reward for r in group] for group in groups])
        self.sampled_accuracy.update(rewards)
        correct = (rewards == 1.0).sum(dim=1)
        self.pass_at_k.update(torch.full_like(correct, self.samples), correct)

    @staticmethod
    def _rollouts(
        items: Sequence[ValidationItem],
        collector: RolloutCollector,
        seed: int,
        samples: int,
        temperature: float,
        on_progress: OnProgress,
    ) -> list[list[Rollout]]:
        sampling = replace(collector.sampling, completions=samples, temperature=temperature)
        problems = [item.problem for item in items]
        groups = collector.sampler.sample(problems, sampling, seed, on_progress).groups
        return [group if item.counted else [] for item, group in zip(items, groups, strict=True)]

    def compute(self) -> dict[str, float]:
        """Everything measured, over all processes."""
        measured = {"val/greedy_accuracy": self.greedy_accuracy.compute().item()}
        if self.pass_at_k is not None:
            measured["val/sampled_accuracy"] = self.sampled_accuracy.compute().item()
            measured[f"val/pass_at_{self.samples}"] = self.pass_at_k.compute().item()
        health = global_means(rollout_sums([r for group in self.sampled for r in group] or self.greedy))
        shown = {key.replace("rollout/", "val/"): value for key, value in health.items()}
        del shown["val/reward"]
        return {**measured, **shown}
