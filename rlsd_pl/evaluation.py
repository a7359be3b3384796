"""Accuracy and health on held-out problems, from verified completions; sampling them is the data module's part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from rlsd_pl.collectives import Sums, global_means
from rlsd_pl.functional import pass_at_k
from rlsd_pl.rollout.metrics import rollout_sums
from rlsd_pl.types import Rollout, ValidationBatch


class Evaluation:
    """Measures one evaluation; keys ``val/``, each explained in docs/metrics.md.

    The completions stay in ``greedy`` and ``sampled`` until the next evaluation, for callbacks to look at.
    """

    def __init__(self) -> None:
        self.greedy: list[Rollout] = []
        self.sampled: list[Sequence[Rollout]] = []

    def start(self) -> None:
        """Forget the last evaluation."""
        self.greedy, self.sampled = [], []

    def update(self, batch: ValidationBatch) -> None:
        """Add completions of held-out problems."""
        self.greedy += batch.greedy
        self.sampled += batch.sampled

    def compute(self) -> dict[str, float]:
        """Everything measured, over all processes."""
        everything = [rollout for group in self.sampled for rollout in group] or self.greedy
        health = {key.replace("rollout/", "val/"): value for key, value in rollout_sums(everything).items()}
        del health["val/reward"]
        return global_means({**accuracy_sums(self.greedy, self.sampled), **health})


def accuracy_sums(greedy: Sequence[Rollout], sampled: Sequence[Sequence[Rollout]]) -> Sums:
    """Accuracies as sums over problems: greedy, avg@n, pass@k for k = 1, 2, 4, ... and n, and maj@n."""
    sums = {"val/greedy_accuracy": (sum(r.verdict.reward for r in greedy), float(len(greedy)))}
    if not sampled:
        return sums
    problems, n = float(len(sampled)), len(sampled[0])
    rewards = torch.tensor([[r.verdict.reward for r in group] for group in sampled], dtype=torch.float64)
    sums["val/sampled_accuracy"] = (float(rewards.sum()), problems * n)
    correct = (rewards == 1.0).sum(dim=1)
    for k in sorted({2**i for i in range(n.bit_length())} | {n}):
        sums[f"val/pass_at_{k}"] = (float(pass_at_k(torch.full_like(correct, n), correct, k).sum()), problems)
    votes = [vote for group in sampled if (vote := majority_reward(group)) is not None]
    if votes:
        sums[f"val/maj_at_{n}"] = (sum(votes), problems)
    return sums


def majority_reward(group: Sequence[Rollout]) -> float | None:
    """Reward of the answer that most completions of one problem give (self-consistency, 2203.11171).

    Answers are compared as the verifier extracted them, as text. Of several answers with most votes the one sampled
    first counts. ``None`` where no completion has an answer.
    """
    answers = [r.verdict.answer.strip() for r in group if r.verdict.answer is not None]
    if not answers:
        return None
    ((winner, _),) = Counter(answers).most_common(1)
    return next(r.verdict.reward for r in group if r.verdict.answer is not None and r.verdict.answer.strip() == winner)
