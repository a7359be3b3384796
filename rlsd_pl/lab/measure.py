"""Measures a lab policy: accuracy and hollow rate, with and without privileged text in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from rlsd_pl.lab.demonstrator import hinted_prompt
from rlsd_pl.lab.verifier import LabVerifier
from rlsd_pl.types import Problem


@dataclass(frozen=True, slots=True)
class Measurement:
    """How a policy does under one kind of prompt and one way to decode.

    Attributes:
        hint: privileged text in the prompt, ``"solution"``, ``"answer"`` or ``None``.
        sample: sampled at temperature 1 from the full vocabulary; greedy if False.
        accuracy: share of completions with the true answer.
        hollow: share of completions with an answer that their own steps do not yield.
    """

    hint: str | None
    sample: bool
    accuracy: float
    hollow: float


def measure_all(
    model: Any, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], max_tokens: int, hinted: bool = True
) -> list[Measurement]:
    """The policy without a hint, and with each kind of hint if it knows them, greedy and sampled."""
    return [
        measure(model, tokenizer, problems, max_tokens, hint, sample)
        for hint, sample in product((None, "solution", "answer") if hinted else (None,), (False, True))
    ]


def measure(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    max_tokens: int,
    hint: str | None = None,
    sample: bool = False,
    batch_size: int = 256,
) -> Measurement:
    """One completion of at most ``max_tokens`` for each problem, judged; the rest as in :class:`Measurement`.

    Sampling draws from torch's global generator.
    """
    texts = []
    for start in range(0, len(problems), batch_size):
        prompts = [_prompt(problem, hint) for problem in problems[start : start + batch_size]]
        texts += complete(model, tokenizer, prompts, max_tokens, sample)
    verdicts = LabVerifier().verify(texts, problems)
    return Measurement(
        hint=hint,
        sample=sample,
        accuracy=sum(verdict.reward for verdict in verdicts) / len(verdicts),
        hollow=sum(verdict.metrics["hollow"] for verdict in verdicts) / len(verdicts),
    )


@torch.inference_mode()
def complete(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_tokens: int, sample: bool
) -> list[str]:
    """The text that the model writes for each prompt, without special tokens."""
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
    inputs: Any = tokenizer.apply_chat_template(
        conversations, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    )
    decoding = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
    output_ids = model.generate(**inputs.to(model.device), **decoding, max_new_tokens=max_tokens)
    return tokenizer.batch_decode(output_ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def _prompt(problem: Problem, hint: str | None) -> str:
    return problem.prompt if hint is None else hinted_prompt(problem.prompt, problem.privileged[hint])
