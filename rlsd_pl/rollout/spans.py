"""Character ranges of a completion's text, as token masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from rlsd_pl.patterns import TextPattern
from rlsd_pl.policy import Policy
from rlsd_pl.types import Rollout, Span


def span_mask(policy: Policy, rollouts: Sequence[Rollout], pattern: TextPattern) -> Tensor:
    """bool [B, T]: the tokens that hold a character of a match of ``pattern``, or of its first group if it has any."""
    group = min(pattern.groups, 1)
    masks = torch.zeros(len(rollouts), max(len(r.completion.token_ids) for r in rollouts), dtype=torch.bool)
    for row, rollout in enumerate(rollouts):
        completion = rollout.completion
        spans = [match.span(group) for match in pattern.matches(completion.text)]
        if spans:
            touched = touches(token_ends(policy, completion.token_ids, completion.text), spans)
            masks[row, : len(touched)] = torch.tensor(touched)
    return masks


def token_ends(policy: Policy, token_ids: Sequence[int], text: str) -> list[int]:
    """How many characters of ``text``, the decoded ids, have been written after each token."""
    pieces = [policy.decode([token]) for token in token_ids]
    if "".join(pieces) == text:
        return list(accumulate(map(len, pieces)))
    # A character of several tokens, or a decoder that minds the neighbours: prefixes say exactly what belongs where.
    return [len(policy.decode(token_ids[: t + 1])) for t in range(len(token_ids))]


def touches(ends: Sequence[int], spans: Sequence[Span]) -> list[bool]:
    """Whether each token, which reaches from its predecessor's end to its own, shares a character with a span."""
    starts = [0, *ends[:-1]]
    return [any(start < stop and first < end for first, stop in spans) for start, end in zip(starts, ends, strict=True)]
