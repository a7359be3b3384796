"""Sampling with transformers' continuous batching: a paged key-value cache that completions join and leave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig

from rlsd_pl.engines.base import NOT_FINITE, Engine, OnFinished, hand_over, ignore_finished, made
from rlsd_pl.engines.scoring import scored
from rlsd_pl.errors import SetupError
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Sampling

PREFILL_TOKENS = 512
"""Prompt tokens per step, so that completions that are being decoded do not wait for long prompts."""


class ContinuousEngine(Engine):
    """Continuous batching on the policy's own weights, in this process and in a thread of transformers.

    A prompt is encoded once, and its group shares the pages. The cache lives for one call, with pages for
    ``batch_size`` completions of full length. Meant for flash attention on a GPU: with any other attention, each query
    meets the pages of all completions under a mask. Sampling with top-k or top-p costs one more forward, because
    transformers return the log-probs of the truncated distribution.

    Args:
        batch_size: completions decoded at once.
        page_size: tokens per page of the cache.
    """

    def __init__(self, batch_size: int = 256, page_size: int = 64) -> None:
        if batch_size < 1:
            raise ValueError(f"Got engine.batch_size={batch_size}; expected at least 1.")
        if page_size < 4:
            raise ValueError(f"Got engine.page_size={page_size}; expected at least 4.")
        if "page_size" not in ContinuousBatchingConfig.__dataclass_fields__:
            raise SetupError(
                f"Got engine=continuous with transformers {transformers.__version__}; expected 5.19 or newer. Set "
                "--engine grouped, or update it."
            )
        self.batch_size, self.page_size = batch_size, page_size

    def bind(self, policy: Policy) -> None:
        kind, attention = policy.causal_lm.config.model_type, str(policy.causal_lm.config._attn_implementation)
        if policy.sharded:
            raise SetupError(
                "Got engine=continuous for a sharded policy; expected whole weights in each process. Set --engine "
                "grouped, or a strategy that does not shard."
            )
        if not policy.caches_prompts or not hasattr(policy.causal_lm, "init_continuous_batching"):
            raise SetupError(
                f"Got engine=continuous for a {kind} model; expected one whose layers keep keys and values of a prompt "
                "and nothing else. Set --engine transformers."
            )
        if attention not in ("eager", "sdpa") and "flash" not in attention:
            raise SetupError(
                f"Got engine=continuous with model.attn_implementation={attention}; expected eager, sdpa or a flash "
                "attention. Set one of these, or --engine grouped."
            )

    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        _refuse_autocast(policy.device)
        results: list[dict[str, Completion]] = [{} for _ in prompts]
        rescored = sampling.truncated
        with self._manager(policy, prompts, sampling, seed) as manager:
            for name, completion in _finished(manager, policy, len(prompts) * sampling.completions):
                place = int(name.partition("_")[0])
                results[place][name] = completion
                if not rescored:
                    on_finished([(place, completion)])
        # By name, since which sibling ends first says something of its length.
        groups = [[group[name] for name in sorted(group)] for group in results]
        if rescored:
            groups = scored(policy, prompts, groups, sampling.temperature)
            hand_over(groups, on_finished)
        return groups

    @contextmanager
    def _manager(
        self, policy: Policy, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int
    ) -> Iterator[Any]:
        """A manager at work on all prompts."""
        model: Any = policy.causal_lm
        device = policy.device
        with policy.evaluating(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            manager = model.init_continuous_batching(
                _generation_config(policy, sampling), self._config(policy, prompts, sampling, seed)
            )
            try:
                # Greedy siblings are equal, and transformers return several sequences of a prompt when drawing only.
                for place, prompt in enumerate(prompts):
                    for copy in range(sampling.completions if sampling.greedy else 1):
                        manager.add_request(list(prompt), request_id=f"{place}_{copy}")
                # Started with all requests in the queue: which draws fall to whom must not depend on the clock.
                manager.start()
                yield manager
            finally:
                if manager.is_running():
                    manager.stop(block=True, hard_stop=True)
                manager.destroy()

    def _config(
        self, policy: Policy, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int
    ) -> ContinuousBatchingConfig:
        rows = min(self.batch_size, len(prompts) * sampling.completions)
        pages = math.ceil((max(map(len, prompts)) + sampling.max_tokens) / self.page_size) + 1
        return ContinuousBatchingConfig(
            page_size=self.page_size,
            num_blocks=rows * pages,
            max_batch_tokens=max(rows, min(PREFILL_TOKENS, sum(map(len, prompts)))),
            max_requests_per_batch=rows,
            return_logprobs=True,
            seed=seed,
            auto_switch_to_flash=policy.device.type == "cuda" and policy.causal_lm.dtype.itemsize == 2,
        )


def _generation_config(policy: Policy, sampling: Sampling) -> GenerationConfig:
    drawing: dict[str, Any] = {"do_sample": False}
    if not sampling.greedy:
        drawing = {
            "do_sample": True,
            "num_return_sequences": sampling.completions,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    return GenerationConfig(
        max_new_tokens=sampling.max_tokens,
        eos_token_id=sorted(policy.stop_ids),
        pad_token_id=policy.pad_id,
        **drawing,
    )


def _finished(manager: Any, policy: Policy, count: int) -> Iterator[tuple[str, Completion]]:
    """Completions with the names of their requests, as they end."""
    left = count
    while left:
        output = manager.get_result(timeout=1.0)
        if output is None:
            if not manager.is_running():
                raise RuntimeError(
                    f"transformers' continuous batching ended with {left} of {count} completions missing; its error "
                    "stands above. Set --engine grouped if it stays."
                )
            continue
        if output.is_finished():
            left -= 1
            yield output.request_id, _completion(policy, output)


def _completion(policy: Policy, output: Any) -> Completion:
    if output.error is not None:
        if "probability tensor" in output.error:
            raise FloatingPointError(NOT_FINITE)
        raise RuntimeError(f"transformers' continuous batching failed: {output.error}")
    return made(policy, output.generated_tokens, output.logprobs)


def _refuse_autocast(device: torch.device) -> None:
    """Autocast holds for one thread, and the pages have the dtype of the weights."""
    if torch.is_autocast_enabled(device.type):
        raise SetupError(
            "Got engine=continuous with mixed precision; expected weights that are computed with as they are. Set "
            "--trainer.precision bf16-true (or 32-true), or --engine grouped."
        )
