"""Would the checks notice a wrong part? Each mutant is a module with one edit, and some check has to fail for it."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import pytest
import torch
from torch import tensor

from tests.mutations import Check, close, gradient, modules_of, mutants, survivors
from tests.parts.edits import EDITS

NAN, INF = math.nan, math.inf


def check_advantage(m: ModuleType) -> None:
    rewards = tensor([[1.0, 0.0, 0.5, NAN], [0.1, 0.1, 0.1, 0.1], [1.0, NAN, NAN, NAN]])
    valid = ~rewards.isnan()
    half = [0.5, -0.5, 0.0, 0.0]
    nothing = [0.0] * 4
    close(m.GroupCentered()(rewards, valid), [half, nothing, nothing])
    close(m.GroupNormalized()(rewards, valid), [[x / 0.500001 for x in half], nothing, nothing])
    close(m.LeaveOneOut()(rewards, valid), [[x * 1.5 for x in half], nothing, nothing])
    batch = rewards[valid].double()
    std = math.sqrt(((batch - batch.mean()) ** 2).sum().item() / 7)
    close(m.BatchNormalized()(rewards, valid), [[x / std for x in half], nothing, nothing])
    small = tensor([[1e-6, -1e-6]])
    close(m.GroupNormalized()(small), [[2**-0.5 / (1 + 2**-0.5) * s for s in (1, -1)]])
    assert not m.GroupNormalized()(torch.full((1, 7), 0.1)).any()
    assert m.GroupCentered()(tensor([[1.0, NAN]])).isnan().all()


def check_weighting(m: ModuleType) -> None:
    advantages = tensor([3.0, -3.0, 0.0], requires_grad=True)
    wide = tensor([[2.0, -2.0, 0.05, INF]], requires_grad=True).expand(3, 4)
    up, down = math.exp(0.05), math.exp(-0.05)
    ones, none = [1, 1, 1, 1], [False] * 4
    all_but_one = [True, True, False, True]
    # Weights at full strength, and the tokens that the clip changes, for A = 3, -3, 0.
    expected = {
        m.TwoSided: ([[1.2, 0.8, up, 1.2], [0.8, 1.2, down, 0.8], ones], [all_but_one, all_but_one, none]),
        m.NegativeOnly: ([ones, [0.8, 1.2, down, 0.8], ones], [none, all_but_one, none]),
        m.ReversedOnCorrect: ([[0.8, 1.2, down, 0.8], ones, ones], [all_but_one, none, none]),
        m.ReversedOnAll: ([[0.8, 1.2, down, 0.8], [1.2, 0.8, up, 1.2], ones], [all_but_one, all_but_one, none]),
        m.OneSided: (
            [[1.2, math.exp(-2), up, 1.2], [0.8, math.exp(2), down, 0.8], ones],
            [[True, False, False, True], [True, False, False, True], none],
        ),
    }
    for weighting, (full, clip_mask) in expected.items():
        for strength in (0.0, 0.25, 1.0):
            weights, clipped = weighting()(advantages, wide, strength, 0.2)
            close(weights, [[(1 - strength) + strength * w for w in row] for row in full])
            assert clipped.tolist() == clip_mask
            assert not weights.requires_grad
        with pytest.raises(ValueError, match="strength"):
            weighting()(advantages, wide, -0.1, 0.2)
        with pytest.raises(ValueError, match="epsilon_w"):
            weighting()(advantages, wide, 0.5, -0.1)
    lone = tensor([1.0])
    close(m.TwoSided()(lone, tensor([[-7.0, 7.0]]), 1.0, 1.0).weights, [[math.exp(-7), 2]])
    assert m.TwoSided()(lone, tensor([[NAN]]), 1.0, 0.2).weights.isnan().all()
    assert m.OneSided()(-lone, tensor([[-INF]]), 1.0, 0.2).weights.isfinite().all()

    gated = m.EvidenceGate(0.5)(advantages, wide)
    up, small = 1 - math.exp(-2), 1 - math.exp(-0.05)
    close(gated, [[0.5 + up, 0.5, 0.5 + small, 1.5], [0.5, 0.5 + up, 0.5, 0.5], [0.5] * 4])
    assert not gated.requires_grad
    with pytest.raises(ValueError, match="floor"):
        m.EvidenceGate(-0.1)


def check_placement(m: ModuleType) -> None:
    delta, ids = torch.arange(20.0).expand(2, 20).clone(), torch.arange(40).view(2, 20)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[:, [0, 5, 19]] = False
    kept, before = [t for t in range(20) if mask[0, t]], delta.clone()
    shifted = list(range(20))
    for k, t in enumerate(kept):
        shifted[t] = kept[k - 1]
    close(m.Shifted()(delta, ids, mask, 0), [shifted, shifted])
    state = torch.random.get_rng_state()
    permuted = m.Permuted()(delta, ids, mask, 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(delta, before)
    assert permuted[0].tolist() != list(range(20))
    assert permuted[0].tolist() != permuted[1].tolist()
    for row in permuted.tolist():
        assert sorted(row) == list(range(20))
        assert [row[t] for t in (0, 5, 19)] == [0, 5, 19]
    for other in (m.Permuted(1)(delta, ids, mask, 0), m.Permuted()(delta, ids, mask, 1)):
        assert not torch.equal(other, permuted)


def check_divergence(m: ModuleType) -> None:
    student = tensor([[0.0, 1.0, 2.0, -1.0]], requires_grad=True)
    teacher = tensor([[1.0, 0.5, -1.0, 0.0]], requires_grad=True)
    s, t = student.detach().double().softmax(-1)[0].tolist(), teacher.detach().double().softmax(-1)[0].tolist()

    def kl(p: list[float], q: list[float]) -> float:
        return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))

    def jsd(s: list[float], t: list[float], beta: float) -> float:
        middle = [(1 - beta) * x + beta * y for x, y in zip(s, t, strict=True)]
        return {0: kl(t, s), 1: kl(s, t)}.get(beta, beta * kl(t, middle) + (1 - beta) * kl(s, middle))

    def with_tail(p: list[float]) -> list[float]:
        return [p[1], p[2], p[0] + p[3]]

    def renormalized(p: list[float]) -> list[float]:
        return [p[1] / (p[1] + p[2]), p[2] / (p[1] + p[2])]

    for beta in (0, 0.3, 1):
        terms = {
            jsd(s, t, beta): m.GeneralizedJSD(beta)(student, teacher),
            jsd(with_tail(s), with_tail(t), beta): m.TopKTail(beta, 2)(student, teacher),
            jsd(renormalized(s), renormalized(t), beta): m.TopKRenormalized(beta, 2)(student, teacher),
        }
        for expected, term in terms.items():
            close(term, [expected])
            assert not gradient(term, teacher).any()
            assert gradient(term, student).any()
        middle = [(1 - beta) * x + beta * y for x, y in zip(s, t, strict=True)]
        forward = [y * math.log(y / z) for y, z in zip(t, s if beta == 0 else middle, strict=True)]
        reverse = [x * math.log(x / z) for x, z in zip(s, t if beta == 1 else middle, strict=True)]
        parts = {0: forward, 1: reverse}.get(
            beta, [beta * f + (1 - beta) * r for f, r in zip(forward, reverse, strict=True)]
        )
        clip = 0.1  # there are summands above it for each beta, and below -.1 for two
        cut = m.EntryClippedJSD(beta, clip)(student, teacher)
        close(cut, [sum(min(part, clip) for part in parts)])
        assert not gradient(cut, teacher).any()
        assert gradient(cut, student).any()
    assert m.EntryClippedJSD() == m.EntryClippedJSD(0.0, 0.05)
    for clip in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="clip is"):
            m.EntryClippedJSD(1.0, clip)
    with pytest.raises(ValueError, match="beta"):
        m.EntryClippedJSD(1.1)
    with pytest.raises(ValueError, match="beta"):
        m.GeneralizedJSD(1.1)
    with pytest.raises(ValueError, match="k is 0"):
        m.TopKTail(k=0)


def check_surrogate(m: ModuleType) -> None:
    policy = tensor([[-1.0, -1.0, -1.0, -1.0]], requires_grad=True)
    old = tensor([[-2.0, 1.0, -2.0, 1.0]], requires_grad=True)
    advantages = tensor([[1.0, 1.0, -1.0, -1.0]], requires_grad=True)
    mask = tensor([[1, 1, 1, 0]])
    up, down = math.e, math.exp(-2)
    cases = {
        m.PPOClip(): ([-1.28, -down, up, 0.8], [0, -down, up, 0]),
        m.DualClip(dual_clip=1.5): ([-1.28, -down, 1.5, 0.8], [0, -down, 0, 0]),
        m.DualClip(): ([-1.28, -down, up, 0.8], [0, -down, up, 0]),
        m.CISPO(): ([up, down, -up, -down], [-up, -down, up, down]),
        m.CISPO(epsilon_high=0.5): ([1.5, down, -1.5, -down], [-1.5, -down, 1.5, down]),
        m.Reinforce(): ([1, 1, -1, -1], [-1, -1, 1, 1]),
        m.GSPO(1.0, 2.0): ([-1, -1, 1, 1], [-1, -1, 1, 1]),
    }
    for surrogate, (losses, gradients) in cases.items():
        loss = surrogate(policy, old, advantages, mask)
        close(loss, [losses])
        close(gradient(loss, policy), [gradients])
        assert not gradient(loss, old).any()
        assert not gradient(loss, advantages).any()
    first = m.GSPO(1.0, 2.0)(policy, old, advantages, mask)[:, 0]
    close(gradient(first, policy), [[-1, 0, 0, 0]])
    shifted = m.GSPO()(policy, old + 1, advantages, mask)
    close(shifted, [[-1 / math.e, -1 / math.e, 1 - 3e-4, 1 - 3e-4]])
    assert m.PPOClip().clipped(policy, old, advantages, mask).tolist() == [[True, False, False, True]]
    assert m.DualClip(dual_clip=1.5).clipped(policy, old, advantages, mask).tolist() == [[True, False, True, True]]
    assert m.GSPO().clipped(policy, old + 1, advantages, mask).tolist() == [[False, False, True, True]]
    with pytest.raises(ValueError, match="dual_clip"):
        m.DualClip(dual_clip=1.0)
    for clip in ((-0.1, 0.2), (1.1, 0.2), (0.2, -0.1)):
        with pytest.raises(ValueError, match="epsilon_low"):
            m.PPOClip(*clip)


def check_reduction(m: ModuleType) -> None:
    loss, mask = tensor([[1.0, 2.0], [6.0, NAN], [NAN, NAN]]), tensor([[1, 1], [1, 0], [0, 0]])
    assert [part.count(mask).item() for part in (m.TokenMean(), m.SequenceMean(), m.SequenceSum(10))] == [3, 2, 2]
    close(m.TokenMean()(loss, mask), 3)
    close(m.SequenceMean()(loss, mask), (1.5 + 6) / 2)
    close(m.SequenceSum(10)(loss, mask, tensor(2)), 0.45)
    close(m.TokenMean()(loss, mask, 9), 1)
    close(m.TokenMean()(loss, torch.zeros(3, 2)), 0)
    third = m.SequenceMean()(tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool))
    assert abs(third.item() - 1 / 3) < 1e-15
    with pytest.raises(ValueError, match="max_tokens"):
        m.SequenceSum(0)


def check_truncation(m: ModuleType) -> None:
    rewards, truncated, lengths = (
        tensor([1.0, 1.0, 1.0, 1.0]),
        tensor([False, False, False, True]),
        tensor([3, 6, 8, 12]),
    )
    for part, expected, learnt in (
        (m.ZeroReward(), [1, 1, 1, 0], [True] * 4),
        (m.KeepReward(), [1, 1, 1, 1], [True] * 4),
        (m.MaskTruncated(), [1, 1, 1, 1], [True, True, True, False]),
        (m.SoftPenalty(4), [1, 1, 0.5, 0], [True] * 4),
    ):
        got = part(rewards, truncated, lengths, 10)
        close(got[0], expected)
        assert got[1].tolist() == learnt
    for buffer in (0, 11):
        with pytest.raises(ValueError, match="buffer"):
            m.SoftPenalty(buffer)(rewards, truncated, lengths, 10)


def check_reference(m: ModuleType) -> None:
    policy, reference = tensor([-1.0], requires_grad=True), tensor([-3.0], requires_grad=True)
    for estimator, value, slope in ((m.K1(), 2, 1), (m.K2(), 2, 2), (m.K3(), math.exp(-2) + 1, 1 - math.exp(-2))):
        estimate = estimator(policy, reference)
        close(estimate, [value])
        close(gradient(estimate, policy), [slope])
        assert not gradient(estimate, reference).any()


def check_importance(m: ModuleType) -> None:
    policy, old = tensor([[-1.0, -1.0]], requires_grad=True), tensor([[-2.0, 1.0]])
    weights = m.TruncatedImportance(2.0)(policy, old)
    close(weights, [[2, math.exp(-2)]])
    assert not weights.requires_grad
    with pytest.raises(ValueError, match="cap"):
        m.TruncatedImportance(0.0)


def check_schedule(m: ModuleType) -> None:
    linear, cosine = m.LinearDecay, m.CosineDecay
    assert [linear(0.5, 0.1, 4)(i) for i in (0, 1, 4, 9)] == pytest.approx([0.5, 0.4, 0.1, 0.1])
    assert [linear(0.5, 0.1, 4, 2, 3)(i) for i in (0, 1, 2, 5, 6)] == pytest.approx([0, 0.25, 0.5, 0.5, 0.4])
    assert [cosine(0.5, 0.1, 3, 0, 1)(i) for i in (0, 1, 2, 4)] == pytest.approx([0.5, 0.5, 0.4, 0.1])
    assert [m.Constant(0.5, 2)(i) for i in (0, 1, 5)] == [0, 0.25, 0.5]
    with pytest.raises(ValueError, match="from 0"):
        m.Constant()(-1)
    with pytest.raises(ValueError, match="iterations is 0"):
        linear(0.5, 0.1, 0)


CHECKS: dict[str, Check] = {
    f"objectives/parts/{name.removeprefix('check_')}": check
    for name, check in list(globals().items())
    if name.startswith("check_")
}


@pytest.mark.parametrize("module", CHECKS)
def test_the_unchanged_module_passes_its_check(module: str):
    CHECKS[module](importlib.import_module(f"rlsd_pl.{module.replace('/', '.')}"))


def test_every_part_has_mutants():
    assert modules_of("objectives/parts") == set(CHECKS) == set(EDITS)


def test_every_mutant_is_caught():
    assert not survivors(mutants(EDITS), lambda mutant: CHECKS[mutant.module])
