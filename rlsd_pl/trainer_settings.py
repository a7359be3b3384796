"""Settings of the Lightning Trainer that a rollout loop cannot honour, refused before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Trainer

from rlsd_pl.errors import SetupError

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""What Lightning may compute in. True half precision would round small updates away; 64 bits no engine samples in."""


def _is_one(value: Any) -> bool:
    return value in (None, 1, 1.0)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _is_unset(value: Any) -> bool:
    return not value


def _is_clip(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < math.inf)


def _is_precision(value: Any) -> bool:
    return value in (None, 32, "32", "16", 16, "bf16", *PRECISIONS)


Rule = tuple[Callable[[Any], bool], str]

RULES: dict[str, Rule] = {
    "precision": (
        _is_precision,
        f"one of {', '.join(PRECISIONS)}. Weights in another type are set by --model.dtype; small steps vanish in "
        "half precision",
    ),
    "max_epochs": (_is_positive, "a number of iterations of at least 1"),
    "accumulate_grad_batches": (
        _is_one,
        "it left out: it follows from the sizes. Set --data.micro_batch_size and --data.updates_per_rollout",
    ),
    "fast_dev_run": (_is_unset, "it left out, since it switches off what a run leaves. Set --trainer.max_epochs 1"),
    "limit_train_batches": (_is_one, "it left out: rollouts would lose a part. Set --data.prompts_per_rollout"),
    "overfit_batches": (_is_unset, "it left out: every iteration samples anew. Take a table of few problems instead"),
    "max_steps": (lambda value: value in (None, -1), "it left out. Set --trainer.max_epochs, counted in iterations"),
    "val_check_interval": (_is_one, "it left out. Set --trainer.check_val_every_n_epoch"),
    "check_val_every_n_epoch": (_is_positive, "a number of iterations of at least 1"),
    "gradient_clip_val": (_is_clip, "a finite norm of at least 0, or null for none"),
    "reload_dataloaders_every_n_epochs": (
        lambda value: value == 1,
        "1, or the first rollout would be reused in every epoch",
    ),
    "barebones": (_is_unset, "it left out: it switches off logs and checkpoints"),
}
"""Setting to what it may be, and what a refusal says was expected."""

WRITTEN: dict[str, Rule] = {
    "enable_checkpointing": (lambda value: value in (None, True), "it left out: a run resumes from its checkpoints"),
    "default_root_dir": (lambda value: value is None, "it left out. Set --run_dir to where the run writes"),
}
"""Those of a run with a folder."""


def check_trainer_settings(settings: Mapping[str, Any]) -> None:
    """Look at the arguments of a Trainer that will write into a run folder, before it is made.

    Raises:
        SetupError: naming the setting, what it may be, and what to set instead.
    """
    for name, (allowed, expected) in {**RULES, **WRITTEN}.items():
        if name in settings and not allowed(settings[name]):
            raise SetupError(f"Got trainer.{name}={settings[name]}; expected {expected}.")


def check_trainer(trainer: Trainer, accumulate: int) -> None:
    """Look at a Trainer that someone made.

    Args:
        accumulate: the micro-batches of an update, which the data module sets; the Trainer may have them already.

    Raises:
        SetupError: as for :func:`check_trainer_settings`.
    """
    known: dict[str, Any] = {
        "precision": trainer.precision,
        "fast_dev_run": trainer.fast_dev_run,  # type: ignore[attr-defined]
        "overfit_batches": trainer.overfit_batches,  # type: ignore[attr-defined]
        "limit_train_batches": trainer.limit_train_batches,
        "max_steps": trainer.max_steps,
        "gradient_clip_val": trainer.gradient_clip_val,
        "reload_dataloaders_every_n_epochs": trainer.reload_dataloaders_every_n_epochs,  # type: ignore[attr-defined]
    }
    if trainer.accumulate_grad_batches != accumulate:
        known["accumulate_grad_batches"] = trainer.accumulate_grad_batches
    for name, value in known.items():
        allowed, expected = RULES[name]
        if not allowed(value):
            raise SetupError(f"Got trainer.{name}={value}; expected {expected}.")
    if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        raise SetupError(
            "Got trainer.use_distributed_sampler=true; expected false: each process collects its own rollouts."
        )
