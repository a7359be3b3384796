"""Reductions against loops over plain floats, and what must not change them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlsd_pl.objectives.parts import Reduction, SequenceMean, SequenceSum, TokenMean

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
LIMIT = 9


def random_rows(seed: int, rows: int = 4, tokens: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    lengths = torch.randint(0, tokens + 1, (rows,), generator=generator)
    return loss, torch.arange(tokens) < lengths.unsqueeze(1)


def kept(loss: Tensor, mask: Tensor) -> list[list[float]]:
    """The values under the mask, of the rows that have any."""
    rows = [[x for x, m in zip(xs, ms, strict=True) if m] for xs, ms in zip(loss.tolist(), mask.tolist(), strict=True)]
    return [row for row in rows if row]


REDUCTIONS: dict[str, Reduction] = {
    "token-mean": TokenMean(),
    "sequence-mean": SequenceMean(),
    "sequence-sum": SequenceSum(LIMIT),
}
LOOPS = {
    "token-mean": lambda rows: sum(map(sum, rows)) / sum(map(len, rows)),
    "sequence-mean": lambda rows: sum(sum(row) / len(row) for row in rows) / len(rows),
    "sequence-sum": lambda rows: sum(map(sum, rows)) / LIMIT / len(rows),
}
EVERY = pytest.mark.parametrize("name", REDUCTIONS)


@EVERY
@PROPERTY
@given(seed=st.integers(0, 10_000))
def test_matches_the_loop(name: str, seed: int):
    loss, mask = random_rows(seed)
    expected = LOOPS[name](kept(loss, mask)) if mask.any() else 0.0
    assert REDUCTIONS[name](loss, mask).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_counts_are_whole_numbers_of_tokens_and_of_filled_rows():
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    assert [REDUCTIONS[name].count(mask).item() for name in REDUCTIONS] == [3, 2, 2]


@EVERY
@PROPERTY
@given(seed=st.integers(0, 10_000), split=st.integers(1, 3), padding=st.integers(0, 4))
def test_micro_batches_padding_and_permutation_change_nothing(name: str, seed: int, split: int, padding: int):
    reduction = REDUCTIONS[name]
    loss, mask = random_rows(seed)
    whole, count = reduction(loss, mask), reduction.count(mask)

    pairs = zip(loss.split(split), mask.split(split), strict=True)
    torch.testing.assert_close(torch.stack([reduction(part, kept, count) for part, kept in pairs]).sum(), whole)

    order = torch.randperm(len(loss), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(reduction(loss[order], mask[order], count), whole)

    wide = torch.nn.functional.pad(loss, (0, padding), value=math.nan)
    torch.testing.assert_close(reduction(wide, torch.nn.functional.pad(mask, (0, padding)), count), whole)


@EVERY
def test_gradcheck(name: str):
    loss, mask = random_rows(3)
    assert torch.autograd.gradcheck(lambda x: REDUCTIONS[name](x, mask, 7.0), loss.requires_grad_())


@EVERY
def test_a_count_of_zero_keeps_the_graph(name: str):
    loss = torch.full((2, 2), math.nan, requires_grad=True)
    reduced = REDUCTIONS[name](loss, torch.zeros(2, 2))
    reduced.backward()
    assert reduced.item() == 0.0
    assert loss.grad is not None
    assert loss.grad.tolist() == [[0, 0], [0, 0]]


def test_a_fractional_count_divides_as_it_is():
    assert TokenMean()(torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 2), 2 / 3).item() == 2 / (2 / 3)


def test_weights_have_the_precision_of_a_floating_mask_and_reductions_that_of_the_loss():
    mask = torch.ones(2, 3, dtype=torch.float64)
    assert SequenceMean().weights(mask).dtype == torch.float64
    assert SequenceMean().weights(mask.bool()).dtype == torch.float32
    thirds = SequenceMean()(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool))
    assert thirds.item() == pytest.approx(1 / 3, abs=1e-15)


def test_bad_arguments_say_what_to_set():
    with pytest.raises(ValueError, match=r"max_tokens is 0.* set the sampling limit"):
        SequenceSum(0)
