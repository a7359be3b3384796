"""The loss of every objective holds a few chunks of logits, whatever vocabulary times tokens are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
import yaml

from rlsd_pl import functional as F
from rlsd_pl.commands.presets import CONFIGS, available
from rlsd_pl.objectives import RLVR, Objective
from rlsd_pl.types import PaddedTokens, RolloutBatch
from tests.tracking import Allocations

B, T, WIDTH = 4, 6, 2
CHUNK = 2**18
"""Logits: one token of the largest vocabulary, 256 of the smallest."""
ALLOWED = 10 * 4 * CHUNK
"""Bytes. One table of all logits would be 24 * 151,936 floats, that is 14 chunks, and each objective needs several."""


def built(settings: Any) -> Any:
    """What a preset's ``class_path`` and ``init_args`` stand for."""
    if not (isinstance(settings, dict) and "class_path" in settings):
        return settings
    module, _, name = settings["class_path"].rpartition(".")
    arguments = {key: built(value) for key, value in settings.get("init_args", {}).items()}
    return getattr(import_module(module), name)(**arguments)


def preset(name: str) -> Objective:
    return built(yaml.safe_load((CONFIGS / "objective" / f"{name}.yaml").read_text())["objective"])


DISTRIBUTION = ("grpo_opsd", "opd", "opd_topk", "opsd", "sdpg", "sdpo", "srpo")


def test_these_are_all_objectives_with_a_distribution_term():
    assert tuple(n for n in sorted(available("objective")) if preset(n).needs.divergence is not None) == DISTRIBUTION


def tracked(objective: Objective, vocabulary: int) -> Allocations:
    """Of the loss's forward and backward, from hidden states of 24 tokens on."""
    torch.manual_seed(0)
    hidden = torch.randn(B * T, WIDTH, requires_grad=True)
    head, teacher = (torch.nn.Linear(WIDTH, vocabulary, bias=False) for _ in range(2))
    ids = torch.randint(vocabulary, (B, T))
    tokens = PaddedTokens(ids, torch.ones(B, T, dtype=torch.bool))
    batch = RolloutBatch(
        prompts=tokens,
        completions=tokens,
        rollout_logprobs=torch.full((B, T), -1.0),
        rewards=torch.zeros(B),
        advantages=torch.ones(B),
        loss_mask=tokens.mask,
        reference=torch.full((B, T), -2.0),
        token_advantages=torch.ones(B, T),
        distribution_weights=None if objective.needs.divergence is None else torch.ones(B, T),
    )
    needs = objective.needs
    others = {"divergence": needs.divergence, "teacher_hidden": hidden.detach() + 1, "teacher_head": teacher}
    with Allocations() as allocations:
        scores = F.token_scores(
            hidden,
            head,
            ids.flatten(),
            temperature=0.9,
            chunk_elements=CHUNK,
            entropy_gradient=needs.entropy_gradient,
            **(others if needs.divergence is not None else {}),
        )
        shaped = type(scores)(*(None if score is None else score.view(B, T) for score in scores))
        loss = objective.reduction(objective.loss(batch, shaped).loss, batch.loss_mask)
        loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum() > 0
    return allocations


OBJECTIVES = {"rlvr": RLVR(), "an entropy bonus": RLVR(entropy_bonus=0.1), **{n: preset(n) for n in DISTRIBUTION}}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_peak_does_not_follow_the_vocabulary(name):
    for vocabulary in (1_024, 16_384, 151_936):
        allocations = tracked(OBJECTIVES[name], vocabulary)
        assert allocations.largest <= 4 * max(CHUNK, WIDTH * vocabulary), vocabulary
        assert allocations.peak <= ALLOWED, vocabulary


def test_what_is_alive_is_what_is_counted():
    with Allocations() as allocations:
        first = torch.zeros(100)
        second = first + 1
        del first
        third = second.view(10, 10) * 2
        del second
        kept = third[0]
        del third
    assert (allocations.largest, allocations.peak, allocations.alive) == (400, 800, 400)
    assert kept.shape == (10,)
