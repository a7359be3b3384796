"""Masked sums and means."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlsd_pl import functional as F


def random_rows(seed: int, rows: int = 4, tokens: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    lengths = torch.randint(0, tokens + 1, (rows,), generator=generator)
    return loss, torch.arange(tokens) < lengths.unsqueeze(1)


def kept(loss: Tensor, mask: Tensor) -> list[list[float]]:
    return [[x for x, m in zip(xs, ms, strict=True) if m] for xs, ms in zip(loss.tolist(), mask.tolist(), strict=True)]


def test_masked_sum_and_mean_match_loops():
    x, mask = random_rows(0)
    rows = kept(x, mask)
    flat = [value for row in rows for value in row]
    assert F.masked_sum(x, mask).item() == pytest.approx(sum(flat), abs=1e-12)
    assert F.masked_mean(x, mask).item() == pytest.approx(sum(flat) / len(flat), abs=1e-12)
    assert F.masked_sum(x, mask, dim=1).tolist() == pytest.approx([sum(row) for row in rows], abs=1e-12)
    expected = [sum(row) / len(row) if row else 0.0 for row in rows]
    assert F.masked_mean(x, mask, dim=1).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_mask_dtype_does_not_matter(dtype: torch.dtype):
    x, mask = random_rows(1)
    assert torch.equal(F.masked_mean(x, mask.to(dtype), dim=1), F.masked_mean(x, mask, dim=1))


def test_what_is_masked_reaches_neither_value_nor_gradient():
    x = torch.tensor([[1.0, math.nan], [math.inf, 3.0]], requires_grad=True)
    mean = F.masked_mean(x, torch.tensor([[1, 0], [0, 1]]))
    mean.backward()
    assert mean.item() == 2.0
    assert x.grad is not None
    assert x.grad.tolist() == [[0.5, 0.0], [0.0, 0.5]]


def test_an_empty_mask_gives_zero_and_keeps_the_graph():
    x = torch.ones(2, 3, requires_grad=True)
    mean = F.masked_mean(x, torch.zeros(2, 3))
    mean.backward()
    assert mean.item() == 0.0
    assert x.grad is not None
    assert not x.grad.any()


def test_a_broadcast_mask_counts_what_it_covers():
    x = torch.arange(6.0).reshape(2, 3)
    assert F.masked_mean(x, torch.tensor([[1], [0]])).item() == 1.0
