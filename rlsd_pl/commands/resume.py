"""What may change when a run goes on, and what would make it another run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.persistence.storage import write_text

log = logging.getLogger(__name__)

FREE = (
    "trainer",
    "logger",
    "leakage",
    "shifted",
    "export",
    "num_threads",
    "engine.init_args.batch_size",
    "engine.init_args.checked",
    "engine.init_args.concurrency",
    "engine.init_args.gpu_memory_utilization",
    "engine.init_args.sleep",
    "engine.init_args.timeout",
    "engine.init_args.url",
    "data.micro_batch_size",
    "data.micro_batch_tokens",
    "data.val_problems",
    "data.val_samples",
    "data.val_before_training",
    "data.max_error_share",
    "data.max_skipped_share",
    "model.gradient_checkpointing",
    "model.attn_implementation",
)
"""Settings, and beginnings of settings, that do not change what is learnt from what."""

OPTIMIZER = "optimizer.init_args."
"""Settings of the optimizer, which are put into its restored state. Its class is the run's own."""

SHOWN = 8
"""Differences that a refusal names."""

ABSENT = object()

Settings = Mapping[str, Any]
"""Leaves of a configuration by dotted key."""


@dataclass(frozen=True)
class Change:
    """A setting that is not what the run was started with; ``ABSENT`` stands for none."""

    key: str
    before: Any
    now: Any

    @property
    def free(self) -> bool:
        """True if the run can go on with it and stay the same run."""
        return _within(self.key, FREE) or self.of_optimizer

    @property
    def of_optimizer(self) -> bool:
        return self.key.startswith(OPTIMIZER)

    def __str__(self) -> str:
        return f"--{self.key}: was {_shown(self.before)}, got {_shown(self.now)}"


def _within(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _shown(value: Any) -> str:
    return "nothing" if value is ABSENT else repr(value)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The settings in which two resolved configurations differ.

    Where a class differs, its arguments are not compared: they are those of two different classes.
    """
    old, new = flat(before), flat(now)
    classes = {key.removesuffix("class_path") for key in old if key.endswith("class_path") and old[key] != new.get(key)}
    return [
        Change(key, old.get(key, ABSENT), new.get(key, ABSENT))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, ABSENT) != new.get(key, ABSENT)
        and not any(key.startswith(f"{prefix}init_args.") for prefix in classes)
    ]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key. Lists are leaves: the order of callbacks or weights is a part of the setting."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def refuse_another_run(folder: Path, found: Sequence[Change], allowed: bool) -> None:
    """Refuse to go on with a run under settings that make it another one.

    Args:
        allowed: ``--resume_changes allow``; a warning names the changes then.

    Raises:
        ValueError: names the settings.
    """
    refused = [change for change in found if not change.free]
    if not refused:
        return
    named = "; ".join(map(str, refused[:SHOWN])) + ("; ..." if len(refused) > SHOWN else "")
    if allowed:
        log.warning("Going on with %s under settings it was not started with: %s.", folder, named)
        return
    raise ValueError(
        f"These settings would make {folder} another run: {named}. Drop them, start a new run with --run_dir, or say "
        "--resume_changes allow if that is what you want. The optimizer's settings, --trainer.*, and sizes of batches "
        "and evaluations can be changed without it."
    )


class NewHyperparameters(Callback):
    """Puts changed settings of the optimizer into its restored state, which would otherwise bring the old ones back.

    Args:
        names: of changed arguments, for example ``lr``.

    With a scheduler, a new learning rate becomes the base that it scales: what it has done so far is kept as a factor.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            for name in self.names:
                if name not in optimizer.defaults:
                    raise ValueError(
                        f"Got --{OPTIMIZER.removesuffix('init_args.')}{name}, which {type(optimizer).__name__} takes "
                        "when it is made and not later. Drop it; a resumed run keeps its optimizer."
                    )
                value = optimizer.defaults[name]
                for group in optimizer.param_groups:
                    if name == "lr" and trainer.lr_scheduler_configs:
                        group["lr"] *= value / group["initial_lr"]
                        group["initial_lr"] = value
                    else:
                        group[name] = value
        if "lr" in self.names:
            for config in trainer.lr_scheduler_configs:
                _rebase(config.scheduler)


def _rebase(scheduler: Any) -> None:
    for inner in getattr(scheduler, "_schedulers", ()):  # SequentialLR and ChainedScheduler hold others
        _rebase(inner)
    groups = scheduler.optimizer.param_groups
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
    if hasattr(scheduler, "_last_lr"):
        scheduler._last_lr = [group["lr"] for group in groups]


class ConfigHistory:
    """``config.yaml`` of a run that goes on: replaced when the first new iteration is saved, the earlier one kept.

    Args:
        path: of ``config.yaml``.
        text: the new one, resolved.
        iteration: up to which the earlier one counts.
    """

    def __init__(self, path: Path, text: str, iteration: int) -> None:
        self.path, self.text, self.iteration = path, text, iteration

    def write(self) -> None:
        """Replace the configuration, if it has changed."""
        before = self.path.read_text()
        if yaml.safe_load(before) == yaml.safe_load(self.text):
            return
        kept = self.path.with_name(f"config-until-iteration-{self.iteration:06d}.yaml")
        if kept.exists():
            kept = kept.with_stem(f"{kept.stem}-{time.strftime('%Y%m%d-%H%M%S')}")
        write_text(kept, before)
        write_text(self.path, self.text)


def resumed_callbacks(found: Sequence[Change]) -> list[Callback]:
    """What a resumed run needs beside its own callbacks."""
    names = [change.key.removeprefix(OPTIMIZER) for change in found if change.of_optimizer]
    return [NewHyperparameters(names)] if names else []
