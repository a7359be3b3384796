"""Weightings against loops over plain floats, and the properties that the papers claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl.objectives.parts import (
    EvidenceWeighting,
    NegativeOnly,
    OneSided,
    ReversedOnAll,
    ReversedOnCorrect,
    TwoSided,
)

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
ADVANTAGES = torch.tensor([1.3, -0.7, 0.0, -2.0], dtype=torch.float64)

seeds = st.integers(0, 10_000)
strengths = st.floats(0, 1)
epsilons = st.floats(0, 1.5)
scales = st.sampled_from([0.01, 1.0, 30.0])


def random_delta(seed: int, scale: float = 1.0, rows: int = 4, tokens: int = 5) -> Tensor:
    return scale * torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def loop(advantages: Tensor, delta: Tensor, formula: Callable[[float, float], float]) -> Tensor:
    rows = zip(advantages.tolist(), delta.tolist(), strict=True)
    return torch.tensor([[formula(a, d) for d in row] for a, row in rows], dtype=torch.float64)


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


Formula = Callable[[float, float, float], tuple[float, bool]]
"""Weight before blending and whether the clip changed it, from the advantage, the evidence and epsilon_w."""


def two_sided(a: float, d: float, epsilon: float) -> tuple[float, bool]:
    weight = math.exp(sign(a) * d)
    return clip(weight, 1 - epsilon, 1 + epsilon), not 1 - epsilon <= weight <= 1 + epsilon


def one_sided(a: float, d: float, epsilon: float) -> tuple[float, bool]:
    weight = math.exp(sign(a) * d)
    if a == 0:
        return 1.0, False
    product = min(weight * a, clip(weight, 1 - epsilon, 1 + epsilon) * a)
    return product / a, weight > 1 + epsilon if a > 0 else weight < 1 - epsilon


LOOPS: dict[EvidenceWeighting, Formula] = {
    TwoSided(): two_sided,
    OneSided(): one_sided,
    NegativeOnly(): lambda a, d, e: two_sided(a, d, e) if a < 0 else (1.0, False),
    ReversedOnCorrect(): lambda a, d, e: two_sided(a, -d, e) if a > 0 else (1.0, False),
    ReversedOnAll(): lambda a, d, e: two_sided(a, -d, e),
}
EVERY = pytest.mark.parametrize("weighting", LOOPS, ids=lambda part: type(part).__name__)


@EVERY
@PROPERTY
@given(seed=seeds, scale=scales, strength=strengths, epsilon=epsilons)
def test_weights_and_clip_mask_match_the_loop(
    weighting: EvidenceWeighting, seed: int, scale: float, strength: float, epsilon: float
):
    delta = random_delta(seed, scale)
    weights, clipped = weighting(ADVANTAGES, delta, strength, epsilon)
    blended = loop(ADVANTAGES, delta, lambda a, d: 1 - strength + strength * LOOPS[weighting](a, d, epsilon)[0])
    torch.testing.assert_close(weights, blended, rtol=1e-9, atol=1e-9)
    # Within rounding of the bound either answer is right.
    margin = loop(ADVANTAGES, delta, lambda a, d: min(abs(abs(d) - abs(b)) for b in bounds(epsilon)))
    expected = loop(ADVANTAGES, delta, lambda a, d: float(LOOPS[weighting](a, d, epsilon)[1])) == 1
    assert torch.equal(clipped[margin > 1e-9], expected[margin > 1e-9])


def bounds(epsilon: float) -> list[float]:
    return [math.log1p(epsilon), *([math.log1p(-epsilon)] if epsilon < 1 else [])]


WRITTEN_OUT: dict[EvidenceWeighting, list[list[bool]]] = {
    TwoSided(): [[True, False, True], [True, False, True], [False, False, False]],
    OneSided(): [[True, False, False], [True, False, False], [False, False, False]],
    NegativeOnly(): [[False, False, False], [True, False, True], [False, False, False]],
    ReversedOnCorrect(): [[True, False, True], [False, False, False], [False, False, False]],
    ReversedOnAll(): [[True, False, True], [True, False, True], [False, False, False]],
}
"""The clip masks of A = 1, -1, 0 (rows) and Delta = .5, .1, -.5 (columns) at epsilon_w = .2."""


@EVERY
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_clip_mask_is_that_of_the_weighting_at_any_strength(weighting: EvidenceWeighting, strength: float):
    delta = torch.tensor([[0.5, 0.1, -0.5]]).expand(3, 3)
    assert weighting(torch.tensor([1.0, -1.0, 0.0]), delta, strength, 0.2).clipped.tolist() == WRITTEN_OUT[weighting]


@EVERY
@PROPERTY
@given(seed=seeds, epsilon=epsilons, scale=st.sampled_from([1.0, 1e3, math.inf]))
def test_strength_zero_is_exactly_one(weighting: EvidenceWeighting, seed: int, epsilon: float, scale: float):
    weights, _ = weighting(ADVANTAGES.float() / 3, random_delta(seed, scale).float(), 0.0, epsilon)
    assert torch.equal(weights, torch.ones(4, 5))


@EVERY
@PROPERTY
@given(strength=strengths, epsilon=epsilons)
def test_a_teacher_equal_to_the_student_gives_exactly_one(
    weighting: EvidenceWeighting, strength: float, epsilon: float
):
    weights, clipped = weighting(ADVANTAGES.float() / 3, torch.zeros(4, 5), strength, epsilon)
    assert torch.equal(weights, torch.ones(4, 5))
    assert not clipped.any()


@EVERY
@PROPERTY
@given(seed=seeds, scale=scales, strength=strengths, epsilon=st.floats(0, 0.99))
def test_weights_are_positive(weighting: EvidenceWeighting, seed: int, scale: float, strength: float, epsilon: float):
    # The printed one-sided form lets a weight fall to 0 with the evidence; it never turns the sign.
    weights, _ = weighting(ADVANTAGES, random_delta(seed, scale), strength, epsilon)
    assert (weights >= 0).all()
    assert isinstance(weighting, OneSided) or (weights > 0).all()


@EVERY
def test_weights_carry_no_gradient(weighting: EvidenceWeighting):
    delta, advantages = random_delta(1).requires_grad_(), ADVANTAGES.clone().requires_grad_()
    weights, clipped = weighting(advantages, delta, 0.5, 0.2)
    assert not weights.requires_grad
    assert clipped.dtype == torch.bool


@EVERY
def test_a_nan_of_the_teacher_is_passed_on(weighting: EvidenceWeighting):
    weights, _ = weighting(torch.tensor([1.0, -1.0, 0.0]), torch.full((3, 1), math.nan), 0.5, 0.2)
    unused = {NegativeOnly: [False, True, False], ReversedOnCorrect: [True, False, False]}
    assert weights.isnan().squeeze(1).tolist() == unused.get(type(weighting), [True, True, True])


@EVERY
@PROPERTY
@given(seed=seeds)
def test_rows_and_tokens_do_not_see_each_other(weighting: EvidenceWeighting, seed: int):
    delta = random_delta(seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    whole = weighting(ADVANTAGES, delta, 0.6, 0.2)
    shuffled = weighting(ADVANTAGES[order], delta[order], 0.6, 0.2)
    padded = weighting(ADVANTAGES, torch.nn.functional.pad(delta, (0, 3), value=math.nan), 0.6, 0.2)
    for one, permuted, wide in zip(whole, shuffled, padded, strict=True):
        assert torch.equal(permuted, one[order])
        assert torch.equal(wide[:, :5], one)


@PROPERTY
@given(seed=seeds, scale=st.sampled_from([1.0, 1e4, math.inf]), epsilon=epsilons)
def test_the_two_sided_weight_stays_within_its_bounds(seed: int, scale: float, epsilon: float):
    weights, _ = TwoSided()(ADVANTAGES.float(), random_delta(seed, scale).float(), 1.0, epsilon)
    assert weights.isfinite().all()
    assert weights.max() <= (1 + epsilon) * (1 + 1e-6)
    assert weights.min() >= max(0.0, 1 - epsilon) * (1 - 1e-6)
    assert (weights[ADVANTAGES == 0] == 1).all()


def test_from_epsilon_one_on_the_lower_side_is_open():
    weights, clipped = TwoSided()(torch.tensor([1.0]), torch.tensor([[-9.0, 9.0]], dtype=torch.float64), 1.0, 1.0)
    assert weights.tolist() == [[pytest.approx(math.exp(-9), rel=1e-9), pytest.approx(2.0, rel=1e-12)]]
    assert clipped.tolist() == [[False, True]]


def test_the_one_sided_weight_binds_above_for_a_right_answer_and_below_for_a_wrong_one():
    delta = torch.tensor([[-1.0, 1.0]], dtype=torch.float64).expand(2, 2)
    right, wrong = OneSided()(torch.tensor([2.0, -2.0]), delta, 1.0, 0.2).weights.tolist()
    assert right == pytest.approx([math.exp(-1), 1.2])
    assert wrong == pytest.approx([math.exp(1), 0.8])


@pytest.mark.parametrize("delta", [1e30, -1e30, math.inf, -math.inf])
def test_the_one_sided_weight_is_finite(delta: float):
    weights, _ = OneSided()(torch.tensor([1.0, -1.0, 0.0]), torch.full((3, 1), delta), 1.0, 0.2)
    assert weights.isfinite().all()


@EVERY
def test_bad_arguments_say_what_to_set(weighting: EvidenceWeighting):
    delta = torch.zeros(4, 5)
    for epsilon in (-0.1, math.nan):
        with pytest.raises(ValueError, match=r"epsilon_w is .* set 0.2"):
            weighting(ADVANTAGES, delta, 0.5, epsilon)
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"lambda.* set 0 for plain RLVR"):
            weighting(ADVANTAGES, delta.double(), strength, 0.2)
