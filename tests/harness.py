"""Runs the real module and data module under a Lightning Trainer, without the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from rlsd_pl.contexts import SolutionContext
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.engines import TransformersEngine
from rlsd_pl.module import PolicyModule
from rlsd_pl.objectives import Objective
from rlsd_pl.policy import LoRA
from rlsd_pl.teachers import LiveTeacher, Teacher
from tests.worlds import LetterVerifier, SumTask

TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": 2,
    "reload_dataloaders_every_n_epochs": 1,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 0,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def module(model: Path, objective: Objective, teacher: Teacher | None = None, **kwargs: Any) -> PolicyModule:
    return PolicyModule(
        objective,
        teacher or LiveTeacher(),
        SolutionContext(),
        optimizer=kwargs.pop("optimizer", partial(torch.optim.SGD, lr=1.0)),
        name_or_path=str(model),
        lora=kwargs.pop("lora", LoRA()),
        **kwargs,
    )


def data(**kwargs: Any) -> RolloutDataModule:
    settings = {
        "prompts_per_rollout": 4,
        "group_size": 4,
        "max_completion_tokens": 10,
        "val_problems": 4,
        "val_samples": 2,
    }
    return RolloutDataModule(
        kwargs.pop("task", SumTask()),
        kwargs.pop("verifier", LetterVerifier()),
        kwargs.pop("engine", TransformersEngine()),
        **{**settings, **kwargs},
    )


def train(
    model: Path,
    objective: Objective,
    *,
    teacher: Teacher | None = None,
    trainer: dict[str, Any] | None = None,
    fit: dict[str, Any] | None = None,
    **data_kwargs: Any,
) -> PolicyModule:
    trained = module(model, objective, teacher)
    Trainer(**{**TRAINER, **(trainer or {})}).fit(trained, data(**data_kwargs), **(fit or {}))
    return trained


def weights(trained: PolicyModule) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trained.policy.trainable().items()}
