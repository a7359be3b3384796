"""Sampling with transformers ``generate``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from rlsd_pl.engines.base import Engine, OnFinished, OnProgress, Policy, ignore_finished, ignore_progress
from rlsd_pl.types import Completion, PaddedTokens, Sampling


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
        on_progress: OnProgress = ignore_progress,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        """See :meth:`Engine.generate`."""
        if sampling.truncated:
            warnings.warn(
                f"Sampling is truncated (top_p={sampling.top_p}, top_k={sampling.top_k}), but log-probs are of the "
                "full distribution, so the importance ratio is biased. Set top_p=1 and top_k=0 for training.",
                stacklevel=2,
            )
        rows = [(i, prompt) for i, prompt in enumerate(prompts) for _ in range(sampling.completions)]
        rows.sort(key=lambda row: len(row[1]))
        results: list[list[Completion]] = [[] for _ in prompts]
        was_training = policy.training
        policy.eval()
        device = policy.device
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(seed)
                for batch in _batches(rows, self.batch_size):
                    completions = _decode(policy, batch, sampling, on_progress)
                    finished = [(i, completion) for (i, _), completion in zip(batch, completions, strict=True)]
                    for i, completion in finished:
                        results[i].append(completion)
                    on_finished(finished)
        finally:
            policy.train(was_training)
        return results


def _batches(rows: list[tuple[int, Sequence[int]]], size: int) -> Iterator[list[tuple[int, Sequence[int]]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _decode(
    policy: Policy, batch: list[tuple[int, Sequence[int]]], sampling: Sampling, on_progress: OnProgress
) -> Iterator[Completion]:
    prompts = PaddedTokens.prompts([prompt for _, prompt in batch], policy.pad_id).to(policy.device)
    longest = prompts.ids.shape[1]
    recorder = LogprobRecorder(sampling.temperature or 1.0, policy.stop_ids, longest, on_progress)
    sequences = policy.generate(
        inputs=prompts.ids,
        attention_mask=prompts.mask.long(),
        generation_config=_generation_config(policy, sampling),
        logits_processor=LogitsProcessorList([recorder]),
        synced_gpus=policy.sharded,
    )
    sampled = sequences[:, longest:]
    logprobs = recorder.finish(sequences)
    for row_ids, row_logprobs in zip(sampled.tolist(), logprobs.tolist(), strict=True):
        length = next((t + 1 for t, token in enumerate(row_ids) if token in policy.stop_ids), len(row_ids))
        token_ids = tuple(row_ids[:length])
        yield Completion(
            token_ids=token_ids,
            logprobs=tuple(row_logprobs[:length]),
            text=policy.decode(token_ids),
            truncated=token_ids[-1] not in policy.stop_ids,
        )


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


class LogprobRecorder(LogitsProcessor):
    """Applies the temperature and keeps the log-prob of each drawn token, at the cost of one [B, V] tensor.

    A processor sees the logits of step t together with the token drawn at step t - 1, so each call settles the step
    before it, and :meth:`finish` the last one.
    """

    def __init__(self, temperature: float, stop_ids: frozenset[int], prompt_length: int, on_progress: OnProgress):
        self.temperature = temperature
        self.stop_ids = torch.tensor(sorted(stop_ids))
        self.prompt_length = prompt_length
        self.on_progress = on_progress
        self.pending: Tensor | None = None
        self.columns: list[Tensor] = []
        self.finished: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        self._settle(input_ids[:, -1])
        scores = scores if self.temperature == 1.0 else scores / self.temperature
        self.pending = torch.log_softmax(scores.float(), dim=-1)
        return scores

    def finish(self, sequences: Tensor) -> Tensor:
        """Log-probs [B, T] of the tokens behind the prompt."""
        length = sequences.shape[1] - self.prompt_length
        if len(self.columns) < length:
            self._settle(sequences[:, -1])
        self.pending = None
        if self.finished is not None:
            self.on_progress(int((~self.finished).sum()))
        return torch.stack(self.columns[:length], dim=1)

    def _settle(self, drawn: Tensor) -> None:
        if self.pending is None:
            return
        self.columns.append(self.pending.gather(1, drawn[:, None]).squeeze(1))
        stopped = torch.isin(drawn, self.stop_ids.to(drawn.device))
        before = torch.zeros_like(stopped) if self.finished is None else self.finished
        self.finished = before | stopped
        if newly := int((self.finished & ~before).sum()):
            self.on_progress(newly)
