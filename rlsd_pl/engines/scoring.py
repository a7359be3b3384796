"""Log-probs of completions under the policy itself, for engines that return none or other ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, PaddedTokens

ROWS = 64
"""Completions per forward."""


@torch.no_grad()
def scored(
    policy: Policy, prompts: Sequence[Sequence[int]], groups: Sequence[Sequence[Completion]], temperature: float
) -> list[list[Completion]]:
    """The same completions with the log-probs of a forward without dropout; prompts of a group are encoded once.

    Args:
        prompts: one per group.
        temperature: of sampling; 0, which is greedy, counts as 1.
    """
    rows = [(prompt, completion) for prompt, group in zip(prompts, groups, strict=True) for completion in group]
    flat: list[Completion] = []
    with policy.evaluating():
        for start in range(0, len(rows), ROWS):
            flat += _scored(policy, rows[start : start + ROWS], temperature or 1.0)
    new = iter(flat)
    return [[next(new) for _ in group] for group in groups]


def _scored(policy: Policy, rows: list[tuple[Sequence[int], Completion]], temperature: float) -> list[Completion]:
    prompts = PaddedTokens.prompts([prompt for prompt, _ in rows], policy.pad_id).to(policy.device)
    completions = PaddedTokens.completions([c.token_ids for _, c in rows], policy.pad_id).to(policy.device)
    table = policy(prompts, completions, temperature).logprobs.tolist()
    return [
        replace(completion, logprobs=tuple(logprobs[: len(completion.token_ids)]))
        for (_, completion), logprobs in zip(rows, table, strict=True)
    ]
