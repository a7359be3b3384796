"""Sample rollouts on disk, for people to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.rollout.collector import RolloutSet
from rlsd_pl.rollout.metrics import without_signal


class RolloutLog(Callback):
    """Appends some groups of each iteration to ``rollouts.jsonl`` in the run folder, tokens and credit included.

    These are the first ones with a signal, whose rewards differ; where there are too few of them, the first others too.

    Args:
        groups: groups per iteration; 0 writes none.
        every: iterations between records.
    """

    def __init__(self, groups: int = 1, every: int = 1) -> None:
        self.groups, self.every = groups, every

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this iteration's records."""
        rollouts: RolloutSet | None = trainer.datamodule.latest  # type: ignore[attr-defined]
        if not trainer.is_global_zero or rollouts is None or trainer.current_epoch % self.every:
            return
        path = Path(trainer.default_root_dir) / "rollouts.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            for record in records(rollouts, self.groups, pl_module.tokenizer):
                file.write(json.dumps({"iteration": trainer.current_epoch + 1, **record}) + "\n")


def records(rollouts: RolloutSet, groups: int, tokenizer: Any) -> list[dict[str, Any]]:
    """One record per completion of the first groups with a signal, then of others. Per token: its advantage, and what
    that was made of, where the objective has it: ``evidence`` (nats), ``weight``, and for the whole rollout
    ``strength``."""
    traces = _traces(rollouts)
    written = []
    size = len(rollouts.groups[0])
    chosen = without_signal(rollouts.batch, len(rollouts.groups)).int().argsort(stable=True)[:groups].tolist()
    for row in (group * size + own for group in chosen for own in range(size)):
        rollout = rollouts.rollouts[row]
        completion, verdict = rollout.completion, rollout.verdict
        record: dict[str, Any] = {
            "problem": rollout.problem.id,
            "prompt": rollout.problem.prompt,
            "completion": completion.text,
            "tokens": tokenizer.convert_ids_to_tokens(list(completion.token_ids)),
            "reward": verdict.reward,
            "status": str(verdict.status),
            "detail": verdict.detail,
            "answer": verdict.answer,
            "reference_answer": rollout.problem.answer,
            "truncated": completion.truncated,
            "advantage": float(rollouts.batch.advantages[row]),
        }
        record |= {name: _rounded(trace[row, : len(completion.token_ids)]) for name, trace in traces.items()}
        if traces and "strength" in rollouts.credit.metrics:
            record["strength"] = rollouts.credit.metrics["strength"]
        written.append(record)
    return written


def _traces(rollouts: RolloutSet) -> dict[str, torch.Tensor]:
    """[B, T] by name; nothing where there is no token credit."""
    batch = rollouts.batch
    if batch.token_advantages is None:
        return {}
    teacher = {} if batch.teacher is None else {"evidence": batch.teacher.logprobs - batch.rollout_logprobs}
    return {"token_advantages": batch.token_advantages, **teacher, **rollouts.credit.traces}


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
