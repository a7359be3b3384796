"""The policy's own answer behind less or other text: which tokens are scored, and what their probability is."""

from __future__ import annotations

import math

import pytest
import torch

from rlsd_pl.leakage import Sample, answer_probes, probe_sums
from rlsd_pl.leakage.probes import AT_ONCE, KINDS, reasoning_of


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def texts(probes) -> list[str]:
    return ["".join(map(chr, probe.ids)) for probe in probes]


ONE = Sample("p", "abcd#17", answer="17")
TWO = Sample("q", "wxyz##6", answer="6")


def test_an_answer_stands_behind_nothing_half_of_its_reasoning_and_that_of_another_problem():
    probes = answer_probes([ONE, TWO], "#", encode, max_tokens=20)
    assert texts(probes) == ["#17", "ab#17", "wxyz##17", "#6", "wx#6", "abcd#6"]
    assert [probe.kind for probe in probes] == [*KINDS, *KINDS]
    assert [probe.row for probe in probes] == [0, 0, 0, 1, 1, 1]
    assert [probe.answer for probe in probes] == [2, 2, 2, 1, 1, 1]
    assert all(probe.counts for probe in probes)


def test_without_answer_or_lead_something_stands_in_that_does_not_count():
    without = [Sample("p", "abcd", answer=None), Sample("p", "abcd", answer="7")]
    probes = answer_probes([*without, ONE], "#", encode, max_tokens=20)
    assert len(probes) == 9
    assert [probe.counts for probe in probes] == [False] * 6 + [True, True, False]  # no other reasoning to swap in
    assert texts(probes[:3]) == ["#0"] * 3


def test_reasoning_is_cut_to_the_limit_and_the_answer_never_is():
    assert texts(answer_probes([ONE, TWO], "#", encode, max_tokens=4)) == ["#17", "a#17", "w#17", "#6", "wx#6", "ab#6"]


def test_a_token_of_lead_and_answer_is_the_answers():
    def merged(text: str) -> list[int]:
        return [99, *encode(text[2:])] if text.startswith("#4") else encode(text)

    (before, *_) = answer_probes([Sample("p", "x#42", answer="42")], "#", merged, max_tokens=9)
    assert before.answer == len(before.ids) == 2


@pytest.mark.parametrize(
    ("lead", "expected"), [("#", "ab#c"), ("#### ", None), ("", "ab#c#4"), ("c#", "ab#")], ids=repr
)
def test_reasoning_is_what_stands_before_the_last_lead(lead, expected):
    assert reasoning_of(Sample("p", "ab#c#4", answer="4"), lead) == expected


def test_probabilities_are_means_over_what_counts():
    probes = answer_probes([ONE, TWO, Sample("p", "none")], "#", encode, max_tokens=20)
    logprobs = torch.full((9, 8), -9.0)
    for row, probe in enumerate(probes):
        logprobs[row, len(probe.ids) - probe.answer : len(probe.ids)] = math.log(0.5)
    for row, probability in ((0, 0.1), (3, 0.2), (6, 0.3)):
        logprobs[row, 0] = math.log(probability)
    found = probe_sums(probes, logprobs)
    assert {kind: weight for kind, (_, weight) in found.items()} == {**dict.fromkeys(KINDS, 2.0), AT_ONCE: 3.0}
    assert [total for total, _ in found.values()] == pytest.approx([0.25 + 0.5] * 3 + [0.6])
