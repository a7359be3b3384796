"""Sampling with transformers ``generate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from rlsd_pl.engines.base import NOT_FINITE, Engine, OnFinished, ignore_finished, made
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, PaddedTokens, Sampling

Row = tuple[int, Sequence[int]]
"""Index of the prompt and its token ids."""


class TransformersEngine(Engine):
    """Batched ``generate`` with a key-value cache.

    Args:
        batch_size: completions decoded at once. Prompts are sorted by length, so that padding stays small.
    """

    def __init__(self, batch_size: int = 256) -> None:
        if batch_size < 1:
            raise ValueError(f"Got engine.batch_size={batch_size}; expected at least 1.")
        self.batch_size = batch_size

    @torch.no_grad()
    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        rows = [(i, prompt) for i, prompt in enumerate(prompts) for _ in range(sampling.completions)]
        rows.sort(key=lambda row: len(row[1]))
        results: list[list[Completion]] = [[] for _ in prompts]
        device = policy.device
        with policy.evaluating(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for batch in _batches(rows, self.batch_size):
                completions = _decode(policy, batch, sampling, on_finished)
                for (i, _), completion in zip(batch, completions, strict=True):
                    results[i].append(completion)
        return results


def _batches(rows: list[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _decode(policy: Policy, batch: list[Row], sampling: Sampling, on_finished: OnFinished) -> list[Completion]:
    prompts = PaddedTokens.prompts([prompt for _, prompt in batch], policy.pad_id).to(policy.device)
    recorder = Recorder(policy, prompts.ids.shape, sampling, [i for i, _ in batch], on_finished)
    try:
        model: Any = policy.model
        sequences = policy.gathered(
            lambda: model.generate(
                inputs=prompts.ids,
                attention_mask=prompts.mask.long(),
                generation_config=_generation_config(policy, sampling),
                logits_processor=LogitsProcessorList([recorder]),
                synced_gpus=policy.sharded,
            )
        )
    except RuntimeError as error:
        if "probability tensor" in str(error):
            raise FloatingPointError(NOT_FINITE) from error
        raise
    return recorder.finish(sequences)


def _generation_config(policy: Policy, sampling: Sampling) -> GenerationConfig:
    drawing: dict[str, Any] = {"do_sample": False}
    if not sampling.greedy:
        # The recorder applies the temperature, so that what is recorded and what is drawn from cannot differ.
        drawing = {"do_sample": True, "temperature": 1.0, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return GenerationConfig(
        max_new_tokens=sampling.max_tokens,
        eos_token_id=sorted(policy.stop_ids),
        pad_token_id=policy.pad_id,
        use_cache=True,
        **drawing,
    )


class Recorder(LogitsProcessor):
    """Applies the temperature, keeps the log-prob of each drawn token, and hands over completions as they end.

    A processor sees the logits of step t together with the token drawn at step t - 1, so each call settles the step
    before it, and :meth:`finish` the last one. It costs one [B, V] tensor.

    Args:
        shape: of the prompts, [B, L].
        places: index of each row's prompt, for ``on_finished``.
    """

    def __init__(
        self, policy: Policy, shape: torch.Size, sampling: Sampling, places: Sequence[int], on_finished: OnFinished
    ) -> None:
        rows, self.prompt_length = shape
        self.policy, self.places, self.on_finished = policy, places, on_finished
        self.temperature = sampling.temperature or 1.0
        self.stop_ids = torch.tensor(sorted(policy.stop_ids), device=policy.device)
        self.logprobs = torch.zeros(rows, sampling.max_tokens, device=policy.device)
        self.running = torch.ones(rows, dtype=torch.bool, device=policy.device)
        self.completions: dict[int, Completion] = {}
        self.pending: Tensor | None = None
        self.steps = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        self._settle(input_ids)
        scores = scores if self.temperature == 1.0 else scores / self.temperature
        self.pending = torch.log_softmax(scores.float(), dim=-1)
        return scores

    def finish(self, sequences: Tensor) -> list[Completion]:
        """The completions of all rows, those that the token limit has ended included."""
        if self.steps < sequences.shape[1] - self.prompt_length:
            self._settle(sequences)
        self.pending = None
        self._end(self.running.nonzero().flatten().tolist(), sequences)
        return [self.completions[row] for row in range(len(self.places))]

    def _settle(self, ids: Tensor) -> None:
        if self.pending is None:
            return
        drawn = ids[:, -1]
        self.logprobs[:, self.steps] = self.pending.gather(1, drawn[:, None]).squeeze(1)
        self.steps += 1
        stopped = self.running & torch.isin(drawn, self.stop_ids)
        self.running &= ~stopped
        self._end(stopped.nonzero().flatten().tolist(), ids)

    def _end(self, rows: list[int], ids: Tensor) -> None:
        """Rows that are final now have ``steps`` tokens."""
        for row in rows:
            token_ids = ids[row, self.prompt_length : self.prompt_length + self.steps].tolist()
            self.completions[row] = made(self.policy, token_ids, self.logprobs[row, : self.steps].tolist())
        if rows:
            self.on_finished([(self.places[row], self.completions[row]) for row in rows])
