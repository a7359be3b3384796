"""A run that learns nothing says so, and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.types import Status
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.composite import parts_of
from rlsd_pl.verifiers.extraction import ExtractionRule

log = logging.getLogger(__name__)

KEY = "credit/no_signal"

LIKELY = 2
"""Causes that a warning names."""


class SignalWatch(Callback):
    """Warns after some iterations in a row in which no group taught anything (``credit/no_signal`` is 1).

    Args:
        iterations: how many in a row.
        command: shows more of the causes.
    """

    def __init__(self, iterations: int = 3, command: str = "rlsd-pl preflight, with the flags of this run") -> None:
        if iterations < 1:
            raise ValueError(f"Got iterations={iterations}; expected at least 1.")
        self.iterations, self.command = iterations, command
        self.silent: list[Mapping[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the rollout, which all processes have added up."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, RolloutDataModule):
            return
        if data.latest_metrics.get(KEY, 0.0) < 1.0:
            self.silent = []
            return
        self.silent.append(data.latest_metrics)
        if len(self.silent) == self.iterations and trainer.is_global_zero:
            found = causes(mean(self.silent), data.verifier, data.sampling.max_tokens)[:LIKELY]
            log.warning(
                "%d iterations in a row without any signal: no group held anything to learn from. Likely causes: %s. "
                "See more with: %s",
                self.iterations,
                "; ".join(found) or "unknown",
                self.command,
            )


def mean(rollouts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each metric that all of them have."""
    shared = set.intersection(*(set(metrics) for metrics in rollouts))
    return {name: sum(metrics[name] for metrics in rollouts) / len(rollouts) for name in sorted(shared)}


def causes(metrics: Mapping[str, float], verifier: Verifier, max_tokens: int) -> list[str]:
    """What became of the completions, the most frequent first: why all of a group may have one reward.

    Args:
        metrics: of a rollout, keys ``rollout/``.
        max_tokens: limit on a completion.
    """
    meanings = {
        "truncated": f"truncated at data.max_completion_tokens={max_tokens}",
        f"status_{Status.INVALID}": f"invalid: {missed(verifier)}",
        f"status_{Status.FAIL}": "wrong",
        f"status_{Status.PASS}": "right",
        f"status_{Status.LIMIT}": "stopped by a limit of the verifier",
        f"status_{Status.ERROR}": "not judged, because the verifier failed",
    }
    shares = {name: metrics.get(f"rollout/{name}", 0.0) for name in meanings}
    ordered = sorted((name for name in meanings if shares[name] >= 0.01), key=lambda name: -shares[name])
    return [f"{'all' if shares[name] > 0.995 else f'{shares[name]:.0%}'} {meanings[name]}" for name in ordered]


def missed(verifier: Verifier) -> str:
    """Which rule found no answer, and what the prompt asks for."""
    rules = [rule for part in parts_of(verifier) if isinstance(rule := getattr(part, "rule", None), ExtractionRule)]
    by = ", ".join(type(rule).__name__ for rule in rules) or type(verifier).__name__
    asked = f", which asks for: {verifier.instruction}" if verifier.instruction else ""
    return f"the answer was not found by {by}{asked}"
