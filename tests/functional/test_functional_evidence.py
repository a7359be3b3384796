"""Evidence against loops over plain floats."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl import functional as F

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)

seeds = st.integers(0, 10_000)


def random_delta(seed: int, rows: int = 4, tokens: int = 5) -> Tensor:
    return torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_log_ratio_of_teacher_and_student_is_detached():
    teacher, student = random_delta(1).requires_grad_(), random_delta(2).requires_grad_()
    delta = F.evidence_delta(teacher, student)
    assert delta.tolist() == [
        [t - s for t, s in zip(ts, ss, strict=True)] for ts, ss in zip(teacher.tolist(), student.tolist(), strict=True)
    ]
    assert not delta.requires_grad


@PROPERTY
@given(seed=seeds, wrong=st.integers(1, 4))
def test_contrastive_evidence_matches_the_loop(seed: int, wrong: int):
    positive = -random_delta(seed).abs()
    negative = -random_delta(seed + 1, rows=4 * wrong).abs().reshape(4, wrong, 5)
    mask = torch.rand(4, wrong, generator=torch.Generator().manual_seed(seed)) < 0.6
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for b in range(4):
        siblings = [k for k in range(wrong) if mask[b, k]]
        for t in range(5):
            if siblings:
                mean = sum(math.exp(negative[b, k, t].item()) for k in siblings) / len(siblings)
                expected[b, t] = positive[b, t].item() - math.log(mean)
    torch.testing.assert_close(F.contrastive_evidence(positive, negative, mask), expected, rtol=1e-9, atol=1e-9)


def test_contrastive_evidence_ignores_what_stands_at_a_missing_context():
    positive, negative = torch.zeros(2, 3), torch.full((2, 1, 3), math.nan)
    assert torch.equal(F.contrastive_evidence(positive, negative, torch.zeros(2, 1)), torch.zeros(2, 3))
    assert F.contrastive_evidence(positive, negative, torch.ones(2, 1)).isnan().all()


def test_contrastive_evidence_is_detached():
    positive, negative = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 1, 2, requires_grad=True)
    assert not F.contrastive_evidence(positive, negative, torch.ones(1, 1)).requires_grad
