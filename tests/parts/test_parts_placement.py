"""Placements against loops over plain floats; the gate; and what a control must leave as it is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl.objectives.parts import EvidenceGate, EvidencePlacement, Permuted, Shifted

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
PLACEMENTS: list[EvidencePlacement] = [Permuted(), Permuted(seed=7), Shifted(), Shifted(by=-1), Shifted(by=9)]
EVERY = pytest.mark.parametrize("placement", PLACEMENTS, ids=repr)
B, T = 4, 7


def random_evidence(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Evidence, ids and a mask with holes in it."""
    draw = torch.Generator().manual_seed(seed)
    delta = torch.randn(B, T, generator=draw, dtype=torch.float64)
    return delta, torch.randint(0, 50, (B, T), generator=draw), torch.rand(B, T, generator=draw) < 0.7


@pytest.mark.parametrize("by", [1, -1, 3, 9])
@PROPERTY
@given(seed=seeds)
def test_a_shift_is_that_of_the_loop(by: int, seed: int):
    delta, ids, mask = random_evidence(seed)
    expected = delta.tolist()
    for b in range(B):
        places = [t for t in range(T) if mask[b, t]]
        for k, t in enumerate(places):
            expected[b][t] = delta[b, places[(k - by) % len(places)]].item()
    assert Shifted(by)(delta, ids, mask, 0).tolist() == expected


@EVERY
@PROPERTY
@given(seed=seeds, iteration=st.integers(0, 99))
def test_each_completion_keeps_its_evidence_and_what_is_masked_stays(
    placement: EvidencePlacement, seed: int, iteration: int
):
    delta, ids, mask = random_evidence(seed)
    given_values = delta.clone()
    placed = placement(delta, ids, mask, iteration)
    assert torch.equal(delta, given_values), "the evidence itself is left as it was"
    for b in range(B):
        assert sorted(placed[b, mask[b]].tolist()) == sorted(delta[b, mask[b]].tolist())
        assert torch.equal(placed[b, ~mask[b]], delta[b, ~mask[b]])


@EVERY
@PROPERTY
@given(seed=seeds)
def test_rows_and_padding_do_not_change_a_placement(placement: EvidencePlacement, seed: int):
    delta, ids, mask = random_evidence(seed)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(seed))
    placed = placement(delta, ids, mask, 3)
    assert torch.equal(placement(delta[order], ids[order], mask[order], 3), placed[order])
    wide = [torch.nn.functional.pad(x, (0, 3), value=y) for x, y in ((delta, math.nan), (ids, 9), (mask, False))]
    assert torch.equal(placement(wide[0], wide[1], wide[2], 3)[:, :T], placed)


def test_a_permutation_follows_from_seed_iteration_and_ids_and_from_nothing_else():
    delta, ids, mask = torch.arange(40.0)[None], torch.arange(40)[None], torch.ones(1, 40, dtype=torch.bool)
    first = Permuted()(delta, ids, mask, 0)
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    assert torch.equal(Permuted()(delta, ids, mask, 0), first)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is not drawn from"
    others = [
        Permuted()(delta, ids, mask, 1),
        Permuted(seed=1)(delta, ids, mask, 0),
        Permuted()(delta, ids + 1, mask, 0),
    ]
    assert not any(torch.equal(other, first) for other in [delta, *others])


def test_a_permutation_is_uniform():
    """Over 2000 iterations each of 4 tokens has the evidence of each in a quarter of them: 4 standard errors."""
    delta, ids, mask = torch.arange(4.0)[None], torch.arange(4)[None], torch.ones(1, 4, dtype=torch.bool)
    counts = torch.zeros(4, 4)
    for iteration in range(2000):
        placed = Permuted()(delta, ids, mask, iteration)[0].long()
        counts[torch.arange(4), placed] += 1
    assert (counts / 2000 - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / 2000)


@EVERY
def test_a_completion_of_which_nothing_is_learnt_is_left_as_it_is(placement: EvidencePlacement):
    delta, ids, _ = random_evidence(0)
    assert torch.equal(placement(delta, ids, torch.zeros(B, T, dtype=torch.bool), 0), delta)


# --- gate -------------------------------------------------------------------------------------------------------------


@PROPERTY
@given(seed=seeds, floor=st.floats(0, 2), scale=st.sampled_from([1e-9, 1.0, 1e3]))
def test_the_gate_is_that_of_the_loop(seed: int, floor: float, scale: float):
    delta = scale * random_evidence(seed)[0]
    advantages = torch.tensor([1.3, -0.7, 0.0, -2.0], dtype=torch.float64)
    got = EvidenceGate(floor)(advantages, delta)
    for b, a in enumerate(advantages.tolist()):
        for t, d in enumerate(delta[b].tolist()):
            signed = d if a > 0 else -d if a < 0 else 0.0
            assert got[b, t].item() == pytest.approx(floor + 1 - math.exp(-max(signed, 0.0)), rel=1e-12, abs=1e-15)


def test_the_gate_takes_infinities_and_passes_on_what_is_no_number():
    delta = torch.tensor([[math.inf, -math.inf, math.nan]], requires_grad=True).expand(3, 3)
    factors = EvidenceGate(0.5)(torch.tensor([1.0, -1.0, 0.0]), delta)
    assert not factors.requires_grad
    assert factors[:, :2].tolist() == [[1.5, 0.5], [0.5, 1.5], [0.5, 0.5]]
    assert factors[:, 2].isnan().all()


@pytest.mark.parametrize("floor", [-0.1, math.nan, math.inf])
def test_an_impossible_floor_says_what_to_set(floor: float):
    with pytest.raises(ValueError, match=r"floor is .* set 0"):
        EvidenceGate(floor)
