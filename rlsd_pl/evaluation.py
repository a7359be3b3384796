"""Accuracy and health on held-out problems, from verified completions; sampling them is the data module's part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from rlsd_pl.collectives import Sums, global_means
from rlsd_pl.functional import pass_at_k
from rlsd_pl.rollout.metrics import rollout_sums
from rlsd_pl.types import Rollout, Status, ValidationBatch


class Evaluation:
    """Measures one evaluation; keys ``val/``, each explained in docs/metrics.md.

    The completions stay in ``greedy`` and ``sampled``, and the figures in ``measured``, until the next evaluation, for
    callbacks to look at. (``trainer.callback_metrics`` keeps a figure of an earlier evaluation that this one lacks.)
    """

    def __init__(self) -> None:
        self.greedy: list[Rollout] = []
        self.sampled: list[Sequence[Rollout]] = []
        self.measured: dict[str, float] = {}

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
        self.measured = global_means({**accuracy_sums(self.greedy, self.sampled), **health})
        return self.measured


def accuracy_sums(greedy: Sequence[Rollout], sampled: Sequence[Sequence[Rollout]]) -> Sums:
    """Accuracies as sums over problems: greedy, avg@n, pass@k for k = 1, 2, 4, ... and n, and maj@n.

    A completion on which the verifier failed is neither right nor wrong. It is left out, so that problems have fewer
    than n samples: pass@k is over those that still have k, maj@n over those that still have one. A mean over nothing
    has weight 0.
    """
    sums = {
        "val/greedy_accuracy": _mean_reward(greedy),
        "val/greedy_status_error": (float(len(greedy) - len(judged(greedy))), float(len(greedy))),
    }
    if not sampled:
        return sums
    groups, n = [judged(group) for group in sampled], len(sampled[0])
    sums["val/sampled_accuracy"] = _mean_reward([r for group in groups for r in group])
    counts = torch.tensor([len(group) for group in groups])
    correct = torch.tensor([sum(r.verdict.reward == 1.0 for r in group) for group in groups])
    for k in sorted({2**i for i in range(n.bit_length())} | {n}):
        enough = counts >= k
        passed = pass_at_k(counts[enough], correct[enough], k)
        sums[f"val/pass_at_{k}"] = (float(passed.sum()), float(len(passed)))
    votes = [vote for group in groups if (vote := majority_reward(group)) is not None]
    if votes:
        sums[f"val/maj_at_{n}"] = (sum(votes), float((counts > 0).sum()))
    return sums


def judged(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Those on which the verifier did not fail."""
    return [r for r in rollouts if r.verdict.status is not Status.ERROR]


def _mean_reward(rollouts: Sequence[Rollout]) -> tuple[float, float]:
    scored = judged(rollouts)
    return float(sum(r.verdict.reward for r in scored)), float(len(scored))


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
