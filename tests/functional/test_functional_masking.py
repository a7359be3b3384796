"""Masked sums and means, and the reductions built on them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl import functional as F

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)


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


def test_reductions_match_loops():
    loss, mask = random_rows(2)
    rows = kept(loss, mask)
    flat = [value for row in rows for value in row]
    filled = [row for row in rows if row]
    weights = mask.double()
    token_mean = F.reduce(loss, F.token_mean_weights(weights), F.token_count(mask))
    assert token_mean.item() == pytest.approx(sum(flat) / len(flat), abs=1e-12)
    sequence_mean = F.reduce(loss, F.sequence_mean_weights(weights), F.sequence_count(mask))
    assert sequence_mean.item() == pytest.approx(sum(sum(r) / len(r) for r in filled) / len(filled), abs=1e-12)
    sequence_sum = F.reduce(loss, F.sequence_sum_weights(weights, 32), F.sequence_count(mask))
    assert sequence_sum.item() == pytest.approx(sum(map(sum, filled)) / 32 / len(filled), abs=1e-12)


def test_counts_are_whole_numbers_of_tokens_and_of_filled_rows():
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    assert (F.token_count(mask).item(), F.sequence_count(mask).item()) == (3, 2)


REDUCTIONS = {
    "token-mean": (F.token_mean_weights, F.token_count),
    "sequence-mean": (F.sequence_mean_weights, F.sequence_count),
    "sequence-sum": (lambda mask: F.sequence_sum_weights(mask, 9), F.sequence_count),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@PROPERTY
@given(seed=st.integers(0, 10_000), split=st.integers(1, 3), padding=st.integers(0, 4))
def test_micro_batches_padding_and_permutation_change_nothing(name: str, seed: int, split: int, padding: int):
    weigh, count_of = REDUCTIONS[name]
    loss, mask = random_rows(seed)
    whole = F.reduce(loss, weigh(mask.double()), count_of(mask))

    parts = [
        F.reduce(part, weigh(part_mask.double()), count_of(mask))
        for part, part_mask in zip(loss.split(split), mask.split(split), strict=True)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)

    order = torch.randperm(len(loss), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(F.reduce(loss[order], weigh(mask[order].double()), count_of(mask)), whole)

    wide = torch.nn.functional.pad(loss, (0, padding), value=math.nan)
    wide_mask = torch.nn.functional.pad(mask, (0, padding))
    torch.testing.assert_close(F.reduce(wide, weigh(wide_mask.double()), count_of(wide_mask)), whole)


def test_a_count_of_zero_keeps_the_graph():
    loss = torch.full((2, 2), math.nan, requires_grad=True)
    empty = torch.zeros(2, 2)
    reduced = F.reduce(loss, F.token_mean_weights(empty), F.token_count(empty))
    reduced.backward()
    assert reduced.item() == 0.0
    assert loss.grad is not None
    assert loss.grad.tolist() == [[0, 0], [0, 0]]


def test_a_fractional_count_divides_as_it_is():
    loss = torch.ones(1, 2, dtype=torch.float64)
    assert F.reduce(loss, F.token_mean_weights(torch.ones(1, 2)), 2 / 3).item() == 2 / (2 / 3)


def test_the_weights_keep_the_precision_of_a_floating_mask():
    mask = torch.ones(2, 3, dtype=torch.float64)
    assert F.sequence_mean_weights(mask).dtype == torch.float64
    assert F.sequence_mean_weights(mask.bool()).dtype == torch.float32


def test_max_tokens_must_be_positive():
    with pytest.raises(ValueError, match="max_tokens is 0"):
        F.sequence_sum_weights(torch.ones(1, 1), 0)
