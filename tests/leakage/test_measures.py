"""What completions alone tell, against brute force, torchmetrics and values written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from rlsd_pl.collectives import _means
from rlsd_pl.leakage import (
    PhraseDetector,
    Sample,
    calibration_error,
    calibration_sums,
    longest_unseen_span,
    measured,
    sample_sums,
)
from rlsd_pl.leakage.format import AnswerFormat
from rlsd_pl.leakage.overlap import match_lengths, words

FORMAT = AnswerFormat()
WORDS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=8)


def holds(span: list[str], text: list[str]) -> bool:
    return any(text[i : i + len(span)] == span for i in range(len(text) - len(span) + 1))


def spans(text: list[str]) -> list[list[str]]:
    return [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]


@given(WORDS, WORDS, WORDS)
def test_the_longest_unseen_span_is_that_of_trying_all(completion, reference, prompt):
    unseen = [span for span in spans(completion) if holds(span, reference) and not holds(span, prompt)]
    expected = max(map(len, unseen), default=0)
    assert longest_unseen_span(" ".join(completion), " ".join(reference), " ".join(prompt)) == expected


def test_a_word_within_a_longer_one_is_none():
    assert match_lengths(["a"], ["ab"]) == [0]
    assert words("It's 12.5 km_h") == ["it", "'", "s", "1", "2", ".", "5", "km", "_", "h"]


SAMPLES = st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.1, 0.31, 0.3, 0.7, 0.999, 1.0]), st.booleans()), min_size=1)


@given(SAMPLES)
def test_the_calibration_error_is_that_of_torchmetrics(answers):
    samples = [Sample("", "", confidence=confidence, correct=correct) for confidence, correct in answers]
    ours = calibration_error(_means([calibration_sums(samples)]))
    confidence = torch.tensor([confidence for confidence, _ in answers], dtype=torch.float64)
    correct = torch.tensor([int(correct) for _, correct in answers])
    theirs = binary_calibration_error(confidence, correct, n_bins=10, norm="l1")
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


def test_over_two_processes_it_is_that_of_all_completions():
    first, second = (
        [Sample("", "", confidence=c, correct=r) for c, r in part] for part in ([(0.9, True)], [(0.9, False)])
    )
    assert calibration_error(_means([calibration_sums(first), calibration_sums(second)])) == pytest.approx(0.4)
    assert calibration_error(_means([calibration_sums([]), calibration_sums([])])) is None


@pytest.mark.parametrize(
    ("completion", "first", "several"),
    [
        ("#4", True, False),
        ("&%@3+4=7;@@%7*2=4;#4", False, False),
        ("#4@%&3+4=7;", True, False),
        ("@%&3+4=7;#7&&@7*2=4;#4", False, True),
        ("The answer is 42. To see why, count the legs of all the animals: 40 + 2 = 42. #### 42", True, False),
        ("First we count the legs of all the animals, 40 + 2. So the answer is 41. Wait: \\boxed{42}", False, True),
        ("Eight boxes of five pens hold forty pens, so the answer is 40.\n#### 40", False, False),
        ("No number here, and the answer is in the box.", False, False),
    ],
)
def test_answers_before_the_reasoning_and_different_answers(completion, first, several):
    assert FORMAT(completion) == (first, several)


def test_everything_is_measured_where_it_is_known():
    samples = [
        Sample("2 + 2?", "the hint says 4", "4 it is", "4", True, False, False, 4, 2.0, 0.5),
        Sample("2 + 2?", "#5", None, "5", False, False, True, 2, 1.0, 0.9),
        Sample("2 + 2?", "what", None, None, False, True, None, None, None, None),
    ]
    found = measured(_means([sample_sums(samples, PhraseDetector(), FORMAT)]))
    expected = {
        "phrase_rate": 1 / 3,
        "hollow_rate": 1 / 2,
        "overlap": 1.0,
        "answer_first": 1 / 3,
        "several_answers": 0.0,
        "invalid_rate": 1 / 3,
        "accuracy": 1 / 3,
        "length": 3.0,
        "entropy": 3.0 / 6,
        "confidence": 0.7,
        "confidence_wrong": 0.9,
        "calibration_error": (0.5 + 0.9) / 2,
    }
    assert found == pytest.approx(expected)


def test_nothing_is_measured_of_nothing():
    assert measured(_means([sample_sums([], PhraseDetector(), FORMAT)])) == {}
