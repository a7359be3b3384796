"""Privileged overlap: how much of a reference stands word for word in a completion and not in the problem."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\d|[^\W\d_]+|[^\w\s]|_")


def words(text: str) -> list[str]:
    """Words, single digits and single signs, in lower case."""
    return _WORD.findall(text.lower())


def match_lengths(text: Sequence[str], source: Sequence[str]) -> list[int]:
    """For each word of ``text``, the length of the longest span of ``source`` that ends with it.

    Args:
        text, source: words without blanks in them.

    >>> match_lengths(["a", "b", "c", "a"], ["b", "c", "d"])
    [0, 1, 2, 0]
    """
    searched, lengths, start = f" {' '.join(source)} ", list[int](), 0
    for end in range(1, len(text) + 1):
        while start < end and f" {' '.join(text[start:end])} " not in searched:
            start += 1
        lengths.append(end - start)
    return lengths


def longest_unseen_span(completion: str, reference: str, prompt: str) -> int:
    """Words of the longest span that completion and reference share and that the prompt does not hold.

    A span that ends at a word is in the prompt just if it is no longer than the prompt's longest one that ends there.

    >>> longest_unseen_span("3 cups of 5 dl, so 15 dl", "3 cups of 5 dl make 15 dl", "How much are 3 cups of 5 dl?")
    3
    """
    written = words(completion)
    shared, seen = match_lengths(written, words(reference)), match_lengths(written, words(prompt))
    return max((length for length, known in zip(shared, seen, strict=True) if length > known), default=0)
