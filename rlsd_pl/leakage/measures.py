"""All that completions alone tell, as weighted sums that add up over processes; docs/metrics.md explains each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlsd_pl.collectives import Sums
from rlsd_pl.leakage.calibration import calibration_error, calibration_sums, without_bins
from rlsd_pl.leakage.format import AnswerFormat
from rlsd_pl.leakage.overlap import longest_unseen_span
from rlsd_pl.leakage.phrases import PhraseDetector
from rlsd_pl.leakage.samples import Sample


def sample_sums(samples: Sequence[Sample], refers: PhraseDetector, format: AnswerFormat) -> Sums:
    """Phrases, hollow answers, overlap, confidence, format, length and entropy; keys without ``leakage/``."""
    placed = [format(s.completion) for s in samples]
    drawn = [s for s in samples if s.surprisal is not None and s.tokens]
    return {
        "phrase_rate": _mean([refers(s.prompt, s.completion) for s in samples]),
        "hollow_rate": _mean([s.hollow for s in samples]),
        "overlap": _mean([_overlap(s) for s in samples]),
        "answer_first": _mean([first for first, _ in placed]),
        "several_answers": _mean([several for _, several in placed]),
        "invalid_rate": _mean([s.invalid for s in samples]),
        "accuracy": _mean([s.correct for s in samples]),
        "length": _mean([s.tokens for s in samples]),
        # -log p of what was drawn is an unbiased estimate of the entropy, without another forward.
        "entropy": (sum(s.surprisal or 0.0 for s in drawn), float(sum(s.tokens or 0 for s in drawn))),
        **calibration_sums(samples),
    }


def measured(means: Mapping[str, float]) -> dict[str, float]:
    """The means over all processes, with the calibration error in the place of its bins."""
    error = calibration_error(means)
    return {**without_bins(means), **({} if error is None else {"calibration_error": error})}


def _overlap(sample: Sample) -> int | None:
    if sample.reference is None:
        return None
    return longest_unseen_span(sample.completion, sample.reference, sample.prompt)


def _mean(values: Sequence[float | bool | None]) -> tuple[float, float]:
    known = [float(value) for value in values if value is not None]
    return sum(known), float(len(known))
