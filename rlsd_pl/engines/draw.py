"""Drawing a token per row, with its log-prob."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TopKLogitsWarper, TopPLogitsWarper

from rlsd_pl.types import Sampling

BLOCKS = (256, 128, 64)
"""Sizes of the parts that a vocabulary is cut into, where one of them divides it: to sum a part is cheap, a cumulative
sum over all of a large V costs more than the rest of the draw."""


class Drawn(NamedTuple):
    """Token ids [B] and their log-probs [B] (nats) under the temperature, without any truncation."""

    ids: Tensor
    logprobs: Tensor


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Drawn:
    """One token per row from ``softmax(logits / temperature)``, truncated by top-k and top-p; the likeliest if greedy.

    By inversion: one uniform number per row, looked up in the cumulative distribution, by blocks and then within one.
    ``torch.multinomial`` draws a number per row *and token*.

    Args:
        logits: [B, V]; may be overwritten.
        generator: on the logits' device.

    Returns:
        The log-prob of a row that holds NaN or positive infinity is NaN, to be checked at the end of a completion.
    """
    logits = logits.float()
    if sampling.temperature not in (0.0, 1.0):
        logits = logits.div_(sampling.temperature)
    weights = logits.softmax(dim=-1)
    sums = _blocks(weights).sum(dim=-1)
    if sampling.greedy:
        ids = weights.argmax(dim=-1)
    elif sampling.truncated:
        kept = _truncated(logits, sampling).softmax(dim=-1)
        ids = _inverted(kept, _blocks(kept).sum(dim=-1), generator)
    else:
        ids = _inverted(weights, sums, generator)
    drawn = weights.gather(1, ids[:, None]).squeeze(1)
    return Drawn(ids, drawn.log() - sums.sum(dim=-1).log())


def _blocks(weights: Tensor) -> Tensor:
    """[B, V] as [B, V / size, size]."""
    vocabulary = weights.shape[-1]
    size = next((size for size in BLOCKS if vocabulary % size == 0), vocabulary)
    return weights.view(len(weights), -1, size)


def _inverted(weights: Tensor, sums: Tensor, generator: torch.Generator) -> Tensor:
    """The token [B] at which the cumulative weight passes a uniform share of the total.

    Args:
        weights: [B, V], at least 0.
        sums: [B, n] of its blocks.
    """
    blocks = _blocks(weights)
    uniform = torch.rand(len(weights), 1, dtype=torch.float64, device=weights.device, generator=generator)
    if blocks.shape[1] == 1:
        return _found(weights.double(), uniform)[0]
    block, share = _found(sums.double(), uniform)
    rows = torch.arange(len(weights), device=weights.device)
    offset, _ = _found(blocks[rows, block].double(), share[:, None])
    return block * blocks.shape[-1] + offset


def _found(weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative weight [B, n] passes ``share`` [B, 1] of the total: the index [B], and how far in it [B]."""
    ends = weights.cumsum(dim=-1)
    total = ends[:, -1:].contiguous()
    target = share * total
    # What has no weight ends where its predecessor does, which "right" passes over; rounding must not pass the last.
    last = torch.searchsorted(ends, total).clamp(max=weights.shape[1] - 1)  # beyond the end where the total is NaN
    index = torch.minimum(torch.searchsorted(ends, target, right=True), last)
    weight = weights.gather(1, index)
    inside = (target - (ends.gather(1, index) - weight)) / weight
    return index.squeeze(1), inside.clamp(0.0, 1.0).squeeze(1)


def _truncated(logits: Tensor, sampling: Sampling) -> Tensor:
    warpers = LogitsProcessorList()
    if sampling.top_k > 0:
        warpers.append(TopKLogitsWarper(min(sampling.top_k, logits.shape[-1])))
    if sampling.top_p < 1.0:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    nothing = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
    return warpers(nothing, logits)  # type: ignore[arg-type]
