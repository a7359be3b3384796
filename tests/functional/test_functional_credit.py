"""Statistics of credit against loops over plain floats, and AUROC against torchmetrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc

from rlsd_pl import functional as F
from tests.credit_loops import auroc, gini, precision_at_k, top_tenth

MANY = settings(max_examples=60, deadline=None)
# Few different values, so that many are equal; eighths, so that sums are exact.
values = st.integers(0, 5).map(lambda n: n / 8)
rows = st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=6)


def padded(lines: Sequence[Sequence[float]], fill: float = 7.0) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, T] of lines of different lengths, with something in the padding, and their mask."""
    width = max(map(len, lines)) + 1
    x = torch.tensor([[*line, *[fill] * (width - len(line))] for line in lines])
    return x, torch.tensor([[t < len(line) for t in range(width)] for line in lines])


@MANY
@given(st.lists(rows, min_size=1, max_size=3))
def test_concentration_is_that_of_the_loops(lines):
    x, mask = padded([[value for value, _ in line] for line in lines])
    plain = [[value for value, _ in line] for line in lines]
    assert F.gini(x, mask).tolist() == pytest.approx([gini(line) for line in plain], abs=1e-12, nan_ok=True)
    assert F.top_share(x, mask).tolist() == pytest.approx([top_tenth(line) for line in plain], abs=1e-12, nan_ok=True)


@MANY
@given(st.lists(rows, min_size=1, max_size=3))
def test_alignment_is_that_of_the_loops(lines):
    x, mask = padded([[value for value, _ in line] for line in lines])
    positive, _ = padded([[float(is_positive) for _, is_positive in line] for line in lines], fill=1.0)
    got = (F.auroc(x, positive.bool(), mask), F.precision_at_k(x, positive.bool(), mask))
    for statistic, loop in zip(got, (auroc, precision_at_k), strict=True):
        expected = [loop([value for value, _ in line], [is_positive for _, is_positive in line]) for line in lines]
        assert statistic.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_auroc_is_that_of_torchmetrics():
    draw = torch.Generator().manual_seed(0)
    scores = torch.rand(20, 50, generator=draw).mul(12).round() / 12  # some equal, all in [0, 1]
    positive = torch.rand(20, 50, generator=draw) < 0.2
    expected = [binary_auroc(row, hits.int()).item() for row, hits in zip(scores, positive, strict=True)]
    assert F.auroc(scores, positive, torch.ones(20, 50)).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("length", [1, 7, 66, 400])
def test_equal_credit_has_the_values_that_the_glossary_names(length: int):
    x, mask = torch.full((1, length), 0.3), torch.ones(1, length)
    positive = torch.arange(length)[None] % 3 == 0
    assert F.gini(x, mask).item() == pytest.approx(0.0, abs=1e-9)
    assert F.top_share(x, mask).item() == pytest.approx(0.1)
    if length > 1:
        assert F.auroc(x, positive, mask).item() == 0.5
    assert F.precision_at_k(x, positive, mask).item() == pytest.approx(positive.float().mean().item())


@MANY
@given(rows, st.floats(0.25, 4.0))
def test_neither_the_size_nor_the_order_of_credit_matters(line, factor: float):
    x, mask = padded([[value for value, _ in line], [factor * value for value, _ in reversed(line)]])
    for statistic in (F.gini(x, mask), F.top_share(x, mask)):
        assert statistic[0].item() == pytest.approx(statistic[1].item(), rel=1e-6, nan_ok=True)


def test_a_credit_that_is_not_a_number_is_seen():
    x = torch.tensor([[1.0, math.nan, 0.0]])
    assert F.gini(x, torch.ones(1, 3)).isnan().all()
    assert F.top_share(x, torch.ones(1, 3)).isnan().all()
