"""Sampling that encodes each prompt once for its whole group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from rlsd_pl.collectives import global_sum
from rlsd_pl.engines.base import Engine, OnFinished, ignore_finished, made
from rlsd_pl.engines.draw import draw
from rlsd_pl.errors import SetupError
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, PaddedTokens, Sampling

Prompt = tuple[int, Sequence[int]]
"""Index of the prompt and its token ids."""

COMPACT_BELOW = 0.75
"""Share of unfinished rows below which the finished ones leave the cache, which copies it."""


class GroupedEngine(Engine):
    """Decodes with a key-value cache in which each prompt is encoded once and then repeated for its completions.

    Finished completions leave the batch. Token and log-prob come from the same pass over the logits (:func:`draw`).

    Args:
        batch_size: completions decoded at once, rounded to whole groups but at least one. Prompts are sorted by length.
    """

    def __init__(self, batch_size: int = 256) -> None:
        if batch_size < 1:
            raise ValueError(f"Got engine.batch_size={batch_size}; expected at least 1.")
        self.batch_size = batch_size

    def bind(self, policy: Policy) -> None:
        if not policy.caches_prompts:
            raise SetupError(
                f"Got engine=grouped for a {policy.causal_lm.config.model_type} model; expected one whose layers keep "
                "keys and values of a prompt and nothing else. Set --engine transformers."
            )

    @torch.no_grad()
    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        generator = torch.Generator(policy.device).manual_seed(seed)
        results: list[list[Completion]] = [[] for _ in prompts]
        with policy.evaluating():
            for batch in self._batches(prompts, sampling.completions):
                decoding = _Decoding(policy, batch, sampling, generator, on_finished)
                for place, completion in policy.gathered(decoding.run):
                    results[place].append(completion)
        return results

    def _batches(self, prompts: Sequence[Sequence[int]], completions: int) -> Iterator[list[Prompt]]:
        ordered = sorted(enumerate(prompts), key=lambda prompt: len(prompt[1]))
        size = max(1, self.batch_size // completions)
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]


class _Decoding:
    """One batch: its rows are completions, those of a prompt side by side."""

    def __init__(
        self,
        policy: Policy,
        prompts: list[Prompt],
        sampling: Sampling,
        generator: torch.Generator,
        on_finished: OnFinished,
    ) -> None:
        self.policy, self.sampling, self.generator, self.on_finished = policy, sampling, generator, on_finished
        self.prompts = PaddedTokens.prompts([prompt for _, prompt in prompts], policy.pad_id).to(policy.device)
        self.places = [place for place, _ in prompts for _ in range(sampling.completions)]
        self.tokens: list[list[int]] = [[] for _ in self.places]
        self.logprobs = torch.zeros(len(self.places), sampling.max_tokens, device=policy.device)
        self.completions: dict[int, Completion] = {}

    def run(self) -> list[tuple[int, Completion]]:
        """Completions with the index of their prompt, row by row."""
        device, max_tokens = self.policy.device, self.sampling.max_tokens
        prefix = self.policy.prefix(self.prompts)
        prefix.take(torch.arange(len(self.prompts.ids), device=device).repeat_interleave(self.sampling.completions))
        rows = list(range(len(self.places)))  # of the batch, by their place in the cache
        hidden = prefix.last
        for step in range(max_tokens):
            drawn = draw(self.policy.logits(hidden), self.sampling, self.generator)
            self.logprobs[rows, step] = drawn.logprobs
            ids = drawn.ids
            self._record(rows, ids.tolist())
            if self._all_finished() or step + 1 == max_tokens:
                break
            if (kept := self._kept(rows)) is not None:
                places = torch.tensor(kept, device=device)
                prefix.take(places)
                rows, ids = [rows[place] for place in kept], ids[places]
            hidden = prefix.extend(PaddedTokens(ids[:, None], torch.ones_like(ids[:, None], dtype=torch.bool)))[:, -1]
        self._end([row for row in range(len(self.places)) if row not in self.completions])
        return [(place, self.completions[row]) for row, place in enumerate(self.places)]

    def _record(self, rows: list[int], ids: list[int]) -> None:
        stopped = []
        for row, token in zip(rows, ids, strict=True):
            if row not in self.completions:
                self.tokens[row].append(token)
                if token in self.policy.stop_ids:
                    stopped.append(row)
        self._end(stopped)

    def _end(self, rows: list[int]) -> None:
        """Make the completions of rows that are final, and hand them over."""
        for row in rows:
            tokens = self.tokens[row]
            self.completions[row] = made(self.policy, tokens, self.logprobs[row, : len(tokens)].tolist())
        if rows:
            self.on_finished([(self.places[row], self.completions[row]) for row in rows])

    def _all_finished(self) -> bool:
        """Sharded, a process goes on until all have finished: the others need its part of the weights."""
        left = len(self.places) - len(self.completions)
        return (global_sum(float(left), self.policy.device) if self.policy.sharded else left) == 0

    def _kept(self, rows: list[int]) -> list[int] | None:
        """Places in the cache of the unfinished rows, where it pays to drop the others."""
        kept = [place for place, row in enumerate(rows) if row not in self.completions]
        return kept if kept and len(kept) <= COMPACT_BELOW * len(rows) else None
