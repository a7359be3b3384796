"""Is the answer there without its reasoning? The policy's own answer, forced behind less or other text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from rlsd_pl.collectives import Sums
from rlsd_pl.leakage.samples import Sample

Encode = Callable[[str], list[int]]

KINDS = ("answer_before", "answer_cut", "answer_swapped")
"""Right behind the prompt; behind the first half of the reasoning; behind the reasoning of another problem."""

AT_ONCE = "answer_at_once"
"""The probability that the policy introduces an answer right behind the prompt, from the same forward."""

ANSWERLESS = "0"
"""Stands in where a completion has no answer, so that all processes score as many rows."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A completion to be scored.

    Attributes:
        kind: one of :data:`KINDS`.
        row: index of the sample, whose prompt it follows.
        ids: token ids.
        answer: how many of the last ones are the answer.
        counts: False for what only stands in.
    """

    kind: str
    row: int
    ids: tuple[int, ...]
    answer: int
    counts: bool


def reasoning_of(sample: Sample, lead: str) -> str | None:
    """What stands before the last ``lead`` (behind which the answer follows); ``None`` without answer or lead."""
    at = sample.completion.rfind(lead.strip()) if lead.strip() else len(sample.completion)
    return None if sample.answer is None or at < 0 else sample.completion[:at]


def answer_probes(samples: Sequence[Sample], lead: str, encode: Encode, max_tokens: int) -> list[Probe]:
    """Three probes of each sample: its own answer behind ``lead``, as in :data:`KINDS`.

    Args:
        lead: what introduces an answer, for example ``\\boxed{``.
        encode: text to token ids, without special tokens.
        max_tokens: most tokens of a probe; the reasoning is cut to it.
    """
    reasoning = [reasoning_of(sample, lead) for sample in samples]
    located = [i for i, text in enumerate(reasoning) if text is not None]
    following = {i: located[(n + 1) % len(located)] for n, i in enumerate(located)}
    probes: list[Probe] = []
    for i, sample in enumerate(samples):
        own, other = reasoning[i], following.get(i, i)
        tail, answer = _forced(lead, ANSWERLESS if own is None else sample.answer or "", encode)
        own_ids, other_ids = encode(own or ""), encode(reasoning[other] or "")
        texts = ([], own_ids[: len(own_ids) // 2], other_ids)
        for kind, before in zip(KINDS, texts, strict=True):
            ids = (*before[: max(max_tokens - len(tail), 0)], *tail)
            counts = own is not None and answer > 0 and (kind != "answer_swapped" or other != i)
            probes.append(Probe(kind, i, ids, answer, counts))
    return probes


def _forced(lead: str, answer: str, encode: Encode) -> tuple[list[int], int]:
    """Token ids of lead and answer, and how many of them are the answer's; a token of both is the answer's."""
    whole, start = encode(lead + answer), encode(lead)
    shared = next(
        (n for n, (a, b) in enumerate(zip(whole, start, strict=False)) if a != b), min(len(whole), len(start))
    )
    return whole, len(whole) - shared


def probe_sums(probes: Sequence[Probe], logprobs: Tensor) -> Sums:
    """Mean probability of the answers, by kind, and of the lead right behind the prompt.

    Args:
        logprobs: [B, T] nats, of the probes' tokens.
    """
    found: dict[str, list[float]] = {kind: [] for kind in (*KINDS, AT_ONCE)}
    for probe, row in zip(probes, logprobs, strict=True):
        lead, answer = row[: len(probe.ids)].double().split([len(probe.ids) - probe.answer, probe.answer])
        if probe.counts:
            found[probe.kind].append(float(answer.sum().exp()))
        if probe.kind == KINDS[0] and len(lead):
            found[AT_ONCE].append(float(lead.sum().exp()))
    return {kind: (sum(values), float(len(values))) for kind, values in found.items()}
