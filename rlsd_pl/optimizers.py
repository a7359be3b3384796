"""Optimizer and scheduler settings, tried before anything is loaded."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from rlsd_pl.errors import SetupError


def check_optimizer(make_optimizer: OptimizerCallable, make_lr_scheduler: LRSchedulerCallable | None) -> None:
    """Make both for a parameter that nothing uses.

    Raises:
        SetupError: if one cannot be made, or a number of the optimizer is not finite.
    """
    try:
        optimizer = make_optimizer([nn.Parameter(torch.zeros(2, 2))])
    except Exception as error:  # optimizers refuse their arguments with whatever they like
        raise SetupError(f"The optimizer cannot be made: {error}. Set --optimizer and its arguments.") from error
    numbers = {name: value for name, value in optimizer.defaults.items() if isinstance(value, float | tuple | list)}
    for name, value in numbers.items():
        if not all(math.isfinite(number) for number in _numbers(value)):
            raise SetupError(f"Got optimizer.{name}={value}; expected finite numbers.")
    if make_lr_scheduler is None:
        return
    try:
        make_lr_scheduler(optimizer)
    except Exception as error:
        raise SetupError(f"The scheduler cannot be made: {error}. Set --lr_scheduler and its arguments.") from error


def _numbers(value: Any) -> list[float]:
    return [value] if isinstance(value, float) else [number for number in value if isinstance(number, float)]
