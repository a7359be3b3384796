"""Settings of the data module: what they may be, and how sizes have to divide."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rlsd_pl.errors import SetupError
from rlsd_pl.ranges import check_count, check_number, check_share
from rlsd_pl.types import Sampling

log = logging.getLogger(__name__)

LEAST = {
    "prompts_per_rollout": 1,
    "group_size": 2,
    "updates_per_rollout": 1,
    "micro_batch_size": 1,
    "max_prompt_tokens": 1,
    "max_completion_tokens": 1,
    "val_problems": 1,
    "val_samples": 0,
    "max_resampling_rounds": 0,
    "top_k": 0,
}
"""Counts, and the least that they may be."""

OPTIONAL = ("max_teacher_prompt_tokens", "micro_batch_tokens")
"""Counts of at least 1, or ``None``."""


def check_data_settings(settings: Mapping[str, Any]) -> None:
    """Look at the arguments of a data module; parts and flags are let pass.

    Raises:
        SetupError: naming the setting and what it may be.
        ValueError: if the updates of a rollout would not be of one size.
    """
    for name, least in LEAST.items():
        check_count(f"data.{name}", settings[name], least)
    for name in OPTIONAL:
        if settings[name] is not None:
            check_count(f"data.{name}", settings[name])
    check_number("data.temperature", settings["temperature"], 0.01, 100.0, "greedy rollouts explore nothing")
    share = "the share of probability that is drawn from; 1 switches it off"
    check_number("data.top_p", settings["top_p"], 1e-6, 1.0, share)
    check_share("data.max_error_share", settings["max_error_share"])
    check_share("data.max_skipped_share", settings["max_skipped_share"])
    seconds = settings["verify_timeout_seconds"]
    check_number("data.verify_timeout_seconds", seconds, 1, 1e7, "of one call of the verifier")
    sizes = ("prompts_per_rollout", "group_size", "updates_per_rollout")
    prompts, group, updates = (settings[name] for name in sizes)
    if (prompts * group) % updates:
        raise ValueError(
            f"Got data.updates_per_rollout={updates} for {prompts} x {group} = {prompts * group} completions; expected "
            "a divisor, so that updates are of one size."
        )


def completions_per_process(
    prompts: int, group: int, updates: int, resampling_rounds: int, processes: int, demonstrations: bool
) -> int:
    """Completions of a rollout on each process.

    Args:
        demonstrations: whether the objective learns from one per prompt, in the place of a group.

    Raises:
        SetupError: if prompts do not divide over the processes, or a process's completions over the updates; and for
            groups of one that would be resampled.
    """
    if prompts % processes:
        raise SetupError(
            f"Got data.prompts_per_rollout={prompts} on {processes} processes; expected a multiple, because a group "
            "stays on one process."
        )
    if demonstrations and resampling_rounds:
        raise SetupError(
            f"Got data.max_resampling_rounds={resampling_rounds} for an objective that learns from demonstrations; "
            "expected 0: a group of one has zero variance."
        )
    local = prompts // processes * (1 if demonstrations else group)
    if local % updates:
        raise SetupError(
            f"Got data.updates_per_rollout={updates} for {local} completions per process; expected a divisor."
        )
    return local


def warn_of_truncated_sampling(sampling: Sampling) -> None:
    """Before training with it."""
    if sampling.truncated:
        log.warning(
            "Sampling is truncated (data.top_p=%s, data.top_k=%d), but log-probs are of the full distribution, so "
            "the importance ratio is biased. Set data.top_p=1 and data.top_k=0 for training.",
            sampling.top_p,
            sampling.top_k,
        )
