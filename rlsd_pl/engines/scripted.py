"""An engine that says what it is told to; for tests and for replaying completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rlsd_pl.engines.base import Engine, OnProgress, Policy, ignore_progress
from rlsd_pl.types import Completion, PaddedTokens, Sampling

Script = Callable[[str, int], str]
"""Maps (decoded prompt, index within the group) to the completion's text."""


class ScriptedEngine(Engine):
    """Returns scripted texts as if the policy had sampled them; log-probs are the policy's own, by one forward.

    Args:
        script: what to say.
    """

    def __init__(self, script: Script) -> None:
        self.script = script

    @torch.no_grad()
    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_progress: OnProgress = ignore_progress,
    ) -> list[list[Completion]]:
        """See :meth:`Engine.generate`. A text beyond ``max_tokens`` is cut and counts as truncated."""
        eos = policy.tokenizer.eos_token_id
        results = []
        for prompt in prompts:
            spoken = policy.decode(prompt)
            texts = [self.script(spoken, k) for k in range(sampling.completions)]
            ids = [
                [*policy.tokenizer.encode(text, add_special_tokens=False), eos][: sampling.max_tokens] for text in texts
            ]
            results.append(_completions(policy, prompt, ids, sampling))
            on_progress(len(ids))
        return results


def _completions(policy: Policy, prompt: Sequence[int], ids: list[list[int]], sampling: Sampling) -> list[Completion]:
    pad = policy.pad_id
    prompts = PaddedTokens.prompts([prompt] * len(ids), pad).to(policy.device)
    completions = PaddedTokens.completions(ids, pad).to(policy.device)
    logprobs = policy(prompts, completions, sampling.temperature or 1.0).logprobs.tolist()
    return [
        Completion(
            token_ids=tuple(row),
            logprobs=tuple(scores[: len(row)]),
            text=policy.decode(row),
            truncated=row[-1] not in policy.stop_ids,
        )
        for row, scores in zip(ids, logprobs, strict=True)
    ]
