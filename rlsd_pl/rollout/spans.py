"""Character ranges of a completion's text, as token masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor

from rlsd_pl.patterns import TextPattern
from rlsd_pl.policy import Policy
from rlsd_pl.types import Rollout, Span


def span_mask(policy: Policy, rollouts: Sequence[Rollout], pattern: TextPattern) -> Tensor:
    """bool [B, T]: the tokens that hold a character of a match of ``pattern``, or of its first group if it has any."""
    group = min(pattern.groups, 1)
    found = [{"": [m.span(group) for m in pattern.matches(r.completion.text)]} for r in rollouts]
    return _masks(policy, rollouts, found, ("",))[""]


def verdict_span_masks(policy: Policy, rollouts: Sequence[Rollout], names: Sequence[str]) -> dict[str, Tensor]:
    """bool [B, T] by name: the tokens that hold a character of the verdicts' spans of that name. A verdict without
    such spans, as one of an error, marks nothing."""
    return _masks(policy, rollouts, [rollout.verdict.spans for rollout in rollouts], names)


def _masks(
    policy: Policy, rollouts: Sequence[Rollout], found: Sequence[Mapping[str, Sequence[Span]]], names: Sequence[str]
) -> dict[str, Tensor]:
    shape = (len(rollouts), max(len(rollout.completion.token_ids) for rollout in rollouts))
    masks = {name: torch.zeros(shape, dtype=torch.bool) for name in names}
    piece = cache(lambda token: policy.decode([token]))
    for row, (rollout, spans) in enumerate(zip(rollouts, found, strict=True)):
        if not any(spans.get(name) for name in names):
            continue
        ends = token_ends(policy, rollout.completion.token_ids, rollout.completion.text, piece)
        for name, mask in masks.items():
            mask[row, : len(ends)] = torch.tensor(touches(ends, spans.get(name, ())))
    return masks


def token_ends(policy: Policy, token_ids: Sequence[int], text: str, piece: Callable[[int], str]) -> list[int]:
    """How many characters of ``text``, the decoded ids, have been written after each token.

    Args:
        piece: the text of one token by itself.
    """
    pieces = [piece(token) for token in token_ids]
    if "".join(pieces) == text:
        return list(accumulate(map(len, pieces)))
    # A character of several tokens, or a decoder that minds the neighbours.
    ends = _windowed_ends(policy.decode, token_ids)
    if ends[-1:] == [len(text)]:
        return ends
    return [len(policy.decode(token_ids[: t + 1])) for t in range(len(token_ids))]


def _windowed_ends(decode: Callable[[Sequence[int]], str], token_ids: Sequence[int]) -> list[int]:
    """Lengths of the decoded prefixes, each by what a token adds to the text of a few tokens before it."""
    ends: list[int] = []
    begin = read = written = 0  # a window that begins at whole characters; all before ``read`` has been counted
    before = ""
    for t in range(len(token_ids)):
        after = decode(token_ids[begin : t + 1])
        ends.append(written + len(after) - len(before))
        if len(after) > len(before) and not after.endswith("\ufffd"):
            begin, read, written = read, t + 1, ends[-1]
            before = decode(token_ids[begin:read])
    return ends


def touches(ends: Sequence[int], spans: Sequence[Span]) -> list[bool]:
    """Whether each token, which reaches from its predecessor's end to its own, shares a character with a span."""
    starts = [0, *ends[:-1]]
    return [any(start < stop and first < end for first, stop in spans) for start, end in zip(starts, ends, strict=True)]
