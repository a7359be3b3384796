"""Completions that are given instead of sampled: demonstrations, and an engine for tests and replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlsd_pl.engines.base import Engine, OnFinished, hand_over, ignore_finished, made
from rlsd_pl.engines.scoring import scored
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Problem, Sampling

Script = Callable[[str, int], str]
"""Maps (decoded prompt, index within the group) to the completion's text."""


class ScriptedEngine(Engine):
    """Returns scripted texts as if the policy had sampled them; log-probs are the policy's own, by one forward.

    Args:
        script: the text of each completion.
    """

    def __init__(self, script: Script) -> None:
        self.script = script

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
        for prompt in prompts:
            decoded = policy.decode(prompt)
            texts = [self.script(decoded, k) for k in range(sampling.completions)]
            results.append([forced(policy, text, sampling) for text in texts])
        results = scored(policy, prompts, results, sampling.temperature)
        hand_over(results, on_finished)
        return results


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
    for problem in problems:
        text = demonstration(problem, fields)
        if text is None:
            raise ValueError(
                f"Problem {problem.id} has no demonstration: expected one of {list(fields)} among its privileged "
                f"texts, got {sorted(problem.privileged)}. Map a column to one of them, or set objective.fields."
            )
        completions.append([forced(policy, text, sampling)])
    return scored(policy, prompts, completions, sampling.temperature)


def demonstration(problem: Problem, fields: Sequence[str]) -> str | None:
    """The first of the privileged ``fields`` that the problem has."""
    return next((text for name in fields if (text := problem.privileged.get(name, "")).strip()), None)


def forced(policy: Policy, text: str, sampling: Sampling) -> Completion:
    """A completion with a given text, its end appended, cut at ``max_tokens``; without log-probs."""
    ids = [*policy.tokenizer.encode(text, add_special_tokens=False), policy.end_id]
    return made(policy, ids[: sampling.max_tokens], ())
