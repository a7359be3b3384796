"""Confident and wrong: whether the probability of an answer says how often it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from rlsd_pl.collectives import Sums
from rlsd_pl.leakage.samples import Sample

BINS = 10
_BIN = "calibration_bin_"


def calibration_sums(samples: Sequence[Sample]) -> Sums:
    """What :func:`calibration_error` and the mean confidences are made of, as sums that add up over processes.

    ``confidence`` is that of all answers, ``confidence_wrong`` that of wrong ones. Bins are as in torchmetrics, which
    would gather all completions instead: [0, .1), [.1, .2), ..., [.9, 1) and 1 itself.
    """
    known = [s for s in samples if s.confidence is not None and s.correct is not None]
    confidence = torch.tensor([s.confidence for s in known], dtype=torch.float64)
    correct = torch.tensor([bool(s.correct) for s in known], dtype=torch.float64)
    bins = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1, dtype=torch.float64), right=True) - 1
    gaps = torch.zeros(BINS + 1, dtype=torch.float64).index_add_(0, bins, correct - confidence)
    wrong, count = correct == 0, float(len(known))
    return {
        "confidence": (float(confidence.sum()), count),
        "confidence_wrong": (float(confidence[wrong].sum()), float(wrong.sum())),
        **{f"{_BIN}{i}": (gap, count) for i, gap in enumerate(gaps.tolist())},
    }


def calibration_error(means: Mapping[str, float]) -> float | None:
    """Expected calibration error sum_b |sum_{i in b} (correct_i - confidence_i)| / N, in [0, 1] (1706.04599, eq. 3).

    Args:
        means: of :func:`calibration_sums`, over all processes.

    Returns:
        ``None`` without answers.
    """
    gaps = [abs(value) for name, value in means.items() if name.startswith(_BIN)]
    return sum(gaps) if gaps else None


def without_bins(means: Mapping[str, float]) -> dict[str, float]:
    """All else that was measured."""
    return {name: value for name, value in means.items() if not name.startswith(_BIN)}
