"""How completions are drawn, and a completion with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlsd_pl.types.problems import Problem, Verdict


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        max_tokens: limit on T per completion, EOS included.
        completions: G, completions per prompt.
        temperature: divides the logits, in sampling *and* in scoring; 0 means greedy.
        top_p, top_k: truncation of the sampling distribution; 1 and 0 switch it off. Truncated sampling biases the
            importance ratio, so training with it warns.
    """

    max_tokens: int
    completions: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def truncated(self) -> bool:
        return not self.greedy and (self.top_p < 1.0 or self.top_k > 0)


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion, as the engine produced it.

    Attributes:
        token_ids: the T sampled ids, EOS included. These are scored; the text is never re-encoded.
        logprobs: T log-probs (nats) of the sampled ids under the sampling distribution (temperature applied).
        text: the decoded ids without special tokens; for verifiers and eyes only.
        truncated: True if the token limit ended it (no EOS).
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Rollout:
    """A completion of a problem with its verdict."""

    problem: Problem
    completion: Completion
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ValidationBatch:
    """Verified completions of held-out problems.

    Attributes:
        greedy: one rollout per problem.
        sampled: some draws per problem; empty where only greedy ones were made.
    """

    greedy: Sequence[Rollout]
    sampled: Sequence[Sequence[Rollout]]
