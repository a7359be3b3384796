"""Phrases that refer to unseen material: precision and recall on lines that took no part in writing the patterns."""

from __future__ import annotations

import json
import re

import pytest

from rlsd_pl.functional import wilson_interval
from rlsd_pl.leakage import PhraseDetector
from tests.conftest import REPOSITORY

LINES = [
    json.loads(line) for line in (REPOSITORY / "tests" / "data" / "leakage_phrases.jsonl").read_text().splitlines()
]
REFERS = PhraseDetector()


def counts(half: str) -> tuple[int, int, int, int]:
    """True and false positives, false and true negatives."""
    judged = [(line["refers"], REFERS("", line["text"])) for line in LINES if line["half"] == half]
    return tuple(judged.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False)))  # type: ignore[return-value]


def test_the_labelled_set_is_large_and_its_halves_are_alike():
    assert len(LINES) == len({line["text"] for line in LINES}) == 240
    for half in ("write", "measure"):
        assert sum(line["refers"] for line in LINES if line["half"] == half) == 55
        assert sum(not line["refers"] for line in LINES if line["half"] == half) == 65


def test_precision_and_recall_on_the_other_half_are_what_the_page_says():
    true_positive, false_positive, false_negative, true_negative = counts("measure")
    assert (true_positive, false_positive, false_negative, true_negative) == (42, 0, 13, 65)
    page = re.sub(r"\s+", " ", (REPOSITORY / "docs" / "leakage.md").read_text())
    found, of = true_positive + false_positive, true_positive + false_negative
    for name, share, n in (("precision", true_positive / found, found), ("recall", true_positive / of, of)):
        low, high = wilson_interval(share, n)
        assert f"{name} {share:.2f} [{low:.2f}, {high:.2f}]" in page


def test_the_half_that_they_were_written_by_is_fitted():
    assert counts("write") == (55, 0, 0, 65)


@pytest.mark.parametrize("text", ["THE REFERENCE SAYS 4", "so\nthe hint says 4", "the reference  says 4"])
def test_case_does_not_matter_and_blanks_do(text):
    assert REFERS("", text) is ("  " not in text)
