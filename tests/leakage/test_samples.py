"""Completions of whichever batch offers prompts and completions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from rlsd_pl.leakage import Sample, samples_of


@dataclass
class Batch:
    prompts: list[str]
    completions: list[str]
    correct: torch.Tensor


def test_attributes_and_keys_are_read_alike():
    batch = Batch(["a", "b"], ["c", "d"], torch.tensor([True, False]))
    expected = [Sample("a", "c", correct=True), Sample("b", "d", correct=False)]
    assert samples_of(batch) == samples_of(vars(batch)) == expected


@pytest.mark.parametrize(
    "other",
    [
        None,
        3,
        {"prompts": ["a"]},
        {"prompts": torch.ones(1), "completions": ["a"]},
        {"prompts": "ab", "completions": "ab"},
    ],
)
def test_what_holds_no_texts_is_none(other):
    assert samples_of(other) is None


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"'completions': 1, 'answers': 2"):
        samples_of({"prompts": ["a"], "completions": ["b"], "answers": ["1", "2"]})
