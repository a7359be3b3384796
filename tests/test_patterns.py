"""Patterns on model text: exponential ones are refused, slow ones end, ordinary ones find what ``re`` finds."""

from __future__ import annotations

import logging
import re
import time

import pytest

from rlsd_pl import patterns
from rlsd_pl.callbacks.leakage import REFERENCES, LeakageDetection
from rlsd_pl.contexts import RejectedSiblings
from rlsd_pl.contexts.siblings import THINKING
from rlsd_pl.objectives import RLSD
from rlsd_pl.patterns import TextPattern
from rlsd_pl.tasks import TableTask
from tests.tables import write_table

NESTED = [r"(a+)+$", r"(a*)*$", r"(.*)*x", r"(?:\w+\s?)+:", r"(?:a|b+)*c", r"((a{2,})+)x", r"(a+?)+?$", r"(?=(a+)+b)",
          r"(?:x(?:y|(?:z*)))*!", r"(?i)(?:a|(?P<n>b+))+$", r"(x)?(?(1)(?:a+)+|b)"]  # fmt: skip
ALLOWED = [r"#### (.+)", r"(?s)<think>(.*)</think>", r"(?:a++)+$", r"(?>a+)+b", r"(?:(?>a+)b)*c", r"(?:a{1,9})+",
           r"a+b+", THINKING, *REFERENCES]  # fmt: skip


@pytest.mark.parametrize("pattern", NESTED)
def test_a_repeat_within_a_repeat_is_refused(pattern):
    with pytest.raises(ValueError, match=r"objective\.span=.*possessive"):
        TextPattern(pattern, "objective.span")


@pytest.mark.parametrize("pattern", ALLOWED)
def test_other_patterns_find_what_re_finds(pattern):
    text = "aaab ab <think>a\nb</think> the reference is #### 5\nas given in the solution, \\boxed{7} aaab"
    found = [(m.span(), m.groups()) for m in TextPattern(pattern, "p").matches(text)]
    assert found == [(m.span(), m.groups()) for m in re.finditer(pattern, text)]


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", r"\p{L}", "[z-a]"])
def test_what_is_no_pattern_is_told(pattern):
    with pytest.raises(ValueError, match="expected a regular expression"):
        TextPattern(pattern, "p")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        # Refused where a user writes them; here they show that the matcher itself ends.
        ("(a+)+$", "a" * 5000 + "!"),
        ("(.*)*$", "a" * 5000 + "\n!"),
        # What the refusal does not see.
        (r"(?:a|a?a)*$", "a" * 5000 + "!"),
        ("(?:ab|a|b)*$", "ab" * 2500 + "!"),
        (r"(\w*)(\w*)(\w*)(\w*)\d$", "a" * 5000 + "!"),
        ("(?:a?){2000}a{2000}!", "a" * 2500),
    ],
)
def test_no_text_takes_longer_than_the_limit(pattern, text, monkeypatch, caplog):
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(patterns, "_nested", lambda _: False)
    slow = TextPattern(pattern, "p")
    begin = time.process_time()
    with caplog.at_level(logging.WARNING, "rlsd_pl"):
        assert slow.matches(text) == [] or pattern.startswith("(?:ab")
        slow.matches(text)
    assert time.process_time() - begin < 1.0
    assert len(caplog.records) <= 1


def test_a_search_that_is_ended_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(patterns, "MIN_SECONDS", 0.01)
    monkeypatch.setattr(patterns, "_nested", lambda _: False)
    slow = TextPattern("(a+)+$", "objective.span")
    begin = time.process_time()
    with caplog.at_level(logging.WARNING, "rlsd_pl"):
        assert not any(slow.matches("a" * 5000 + "!") for _ in range(20))
    assert time.process_time() - begin < 1.5  # 0.2 + 0.1 + 0.05 + ..., not 20 * 0.2
    assert [record.message.partition("=")[0] for record in caplog.records] == ["objective.span"]


def test_every_place_that_takes_a_pattern_refuses_it(tmp_path):
    path = str(write_table("jsonl", tmp_path, 8))
    takers = {
        "objective.span": lambda p: RLSD(span=p),
        "pattern": lambda p: RejectedSiblings(pattern=p),
        "patterns": lambda p: LeakageDetection(patterns=["hint", p]),
        "task.answer_pattern": lambda p: TableTask(path, answer_pattern=p, val_fraction=0.3),
    }
    for setting, take in takers.items():
        for pattern in ("(a+)+$", "("):
            with pytest.raises(ValueError, match=rf"Got [\w.]*{setting}="):
                take(pattern)
