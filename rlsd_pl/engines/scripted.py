"""Completions that are given instead of sampled: demonstrations, and an engine for tests and replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rlsd_pl.engines.base import Engine, OnFinished, ignore_finished
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, PaddedTokens, Problem, Sampling

Script = Callable[[str, int], str]
"""Maps (decoded prompt, index within the group) to the completion's text."""


class ScriptedEngine(Engine):
    """Returns scripted texts as if the policy had sampled them; log-probs are the policy's own, by one forward.

    Args:
        script: the text of each completion.
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
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        """A text beyond ``max_tokens`` is cut and counts as truncated."""
        results = []
        for i, prompt in enumerate(prompts):
            decoded = policy.decode(prompt)
            texts = [self.script(decoded, k) for k in range(sampling.completions)]
            results.append(forced(policy, prompt, texts, sampling))
            on_finished([(i, completion) for completion in results[-1]])
        return results


@torch.no_grad()
def demonstrate(
    policy: Policy,
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[int]],
    fields: Sequence[str],
    sampling: Sampling,
) -> list[list[Completion]]:
    """One completion per problem: the first of its privileged ``fields`` that it has, as if the policy had sampled it.

    Raises:
        ValueError: if a problem has none of them.
    """
    completions = []
    for problem, prompt in zip(problems, prompts, strict=True):
        text = demonstration(problem, fields)
        if text is None:
            raise ValueError(
                f"Problem {problem.id} has no demonstration: expected one of {list(fields)} among its privileged "
                f"texts, got {sorted(problem.privileged)}. Map a column to one of them, or set objective.fields."
            )
        completions.append(forced(policy, prompt, [text], sampling))
    return completions


def demonstration(problem: Problem, fields: Sequence[str]) -> str | None:
    """The first of the privileged ``fields`` that the problem has."""
    return next((text for name in fields if (text := problem.privileged.get(name, "")).strip()), None)


def forced(policy: Policy, prompt: Sequence[int], texts: Sequence[str], sampling: Sampling) -> list[Completion]:
    """Completions of one prompt with given texts, EOS appended, cut at ``max_tokens``; log-probs are the policy's."""
    eos = policy.tokenizer.eos_token_id
    ids = [[*policy.tokenizer.encode(text, add_special_tokens=False), eos][: sampling.max_tokens] for text in texts]
    pad = policy.pad_id
    prompts = PaddedTokens.prompts([prompt] * len(ids), pad).to(policy.device)
    completions = PaddedTokens.completions(ids, pad).to(policy.device)
    was_training = policy.training
    policy.eval()
    logprobs = policy(prompts, completions, sampling.temperature or 1.0).logprobs.tolist()
    policy.train(was_training)
    return [
        Completion(
            token_ids=tuple(row),
            logprobs=tuple(scores[: len(row)]),
            text=policy.decode(row),
            truncated=row[-1] not in policy.stop_ids,
        )
        for row, scores in zip(ids, logprobs, strict=True)
    ]
