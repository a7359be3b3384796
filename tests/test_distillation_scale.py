"""A scale of distillation multiplies the weight of all that the teacher says, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rlsd_pl import objectives as o
from rlsd_pl.types import Credit
from tests.objective_loops import moved_scores, random_batch

SCALE = 0.5
BY_STRENGTH: dict[str, Callable[[float], o.Objective]] = {
    "rlsd": lambda strength: o.RLSD(strength=o.Constant(strength)),
    "rlrt": lambda strength: o.RLRT(strength=o.Constant(strength)),
    "cepo": lambda strength: o.CEPO(strength=o.Constant(strength)),
    "rlcsd": lambda strength: o.RLCSD(strength=o.Constant(strength)),
    "grpo_opsd": lambda strength: o.GRPOWithOPSD(strength=o.Constant(strength)),
    "sdpg": lambda strength: o.SDPG(strength=o.Constant(strength)),
}


def scaled(objective: o.Objective, scale: float = SCALE) -> o.Objective:
    objective.distillation_scale = scale
    return objective


def same(a: Credit, b: Credit) -> None:
    for name in ("token_advantages", "distribution_weights", "loss_mask"):
        first, second = getattr(a, name), getattr(b, name)
        assert (first is None) == (second is None)
        assert first is None or torch.equal(first, second)


@pytest.mark.parametrize("name", BY_STRENGTH)
@pytest.mark.parametrize("seed", range(3))
def test_it_multiplies_the_strength(name, seed):
    batch, make = random_batch(seed), BY_STRENGTH[name]
    same(scaled(make(0.5)).credit(batch, 0), make(0.25).credit(batch, 0))
    assert scaled(make(0.5)).credit(batch, 0).metrics["strength"] == 0.25


@pytest.mark.parametrize("make", [o.OPSD, o.SDPO, o.OPD])
def test_it_multiplies_the_weight_of_a_divergence(make):
    batch = random_batch(0)
    assert batch.distillation is not None
    weights = scaled(make()).credit(batch, 0).distribution_weights
    assert weights is not None
    assert weights.tolist() == [SCALE if shown else 0.0 for shown in batch.distillation.has_context.tolist()]


@pytest.mark.parametrize("make", [o.OPSDSampled, o.OPDSampled, o.IWOPD, o.ContrastOPSD])
def test_it_multiplies_evidence_that_is_the_advantage(make):
    batch = random_batch(0)
    full, half = make().credit(batch, 0), scaled(make()).credit(batch, 0)
    torch.testing.assert_close(half.token_advantages, SCALE * full.token_advantages)
    assert full.token_advantages.abs().sum() > 0
    same(Credit(None, loss_mask=full.loss_mask), Credit(None, loss_mask=half.loss_mask))


def test_it_multiplies_weights_by_token_of_a_divergence_and_no_reward():
    batch = random_batch(0)
    full, half = o.SRPO().credit(batch, 0), scaled(o.SRPO()).credit(batch, 0)
    assert full.distribution_weights is not None
    assert full.distribution_weights.abs().sum() > 0
    torch.testing.assert_close(half.distribution_weights, SCALE * full.distribution_weights)
    torch.testing.assert_close(half.token_advantages, full.token_advantages, rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_it_multiplies_the_coefficient_of_a_gated_term(seed):
    batch = random_batch(seed)
    batch, scores = batch.credited(o.SDAR().credit(batch, 0)), moved_scores(batch, seed)
    torch.testing.assert_close(
        scaled(o.SDAR(coefficient=0.5)).loss(batch, scores).loss, o.SDAR(coefficient=0.25).loss(batch, scores).loss
    )


def test_it_multiplies_the_evidence_of_a_gate():
    batch = random_batch(0)
    without = scaled(o.EvidenceGated(floor=0.3), 0.0).credit(batch, 0).token_advantages
    torch.testing.assert_close(without, 0.3 * batch.advantages[:, None].expand_as(batch.rollout_logprobs))
    half = scaled(o.EvidenceGated()).credit(batch, 0).token_advantages
    for b, t in batch.loss_mask.nonzero().tolist():
        a = batch.advantages[b].sign()
        delta = batch.teacher.logprobs[b, t] - batch.rollout_logprobs[b, t]
        expected = batch.advantages[b] * (1 - torch.exp(-(a * SCALE * delta).clamp(min=0)))
        torch.testing.assert_close(half[b, t], expected)


@pytest.mark.parametrize("make", [o.RLVR, o.SFT, o.TeacherFreeRLSD])
def test_a_method_without_a_teacher_has_one_that_is_never_set(make):
    assert make().distillation_scale == 1.0
