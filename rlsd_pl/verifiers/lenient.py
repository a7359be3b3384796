"""What a lenient extraction rule lets pass, beside what its strict one would."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Protocol

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.extraction import ExtractionRule

METRIC = "strict_accuracy"
"""Reward under :attr:`ExtractionRule.strict`, of every completion that was judged under a lenient rule."""


class Ruled(Protocol):
    """A verifier with an extraction rule."""

    rule: ExtractionRule

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]: ...


def with_strict_accuracy(
    verifier: Ruled, texts: Sequence[str], problems: Sequence[Problem], verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """The verdicts with the metric ``strict_accuracy``; as they are where the verifier's rule is not lenient.

    Only answers that the strict rule reads otherwise are judged again.
    """
    if verifier.rule.strict is None:
        return list(verdicts)
    twin = copy(verifier)
    twin.rule = verifier.rule.strict()
    twin.rule.bind(verifier.rule.end_of_turn)
    strict = [(twin.rule.extract(text).answer or "").strip() for text in texts]
    rewards = [v.reward if s and s == v.answer else 0.0 for s, v in zip(strict, verdicts, strict=True)]
    again = [i for i, v in enumerate(verdicts) if strict[i] and strict[i] != v.answer]
    for i, verdict in zip(again, twin.verify([texts[i] for i in again], [problems[i] for i in again]), strict=True):
        rewards[i] = verdict.reward
    return [
        verdict if verdict.status is Status.ERROR else replace(verdict, metrics={**verdict.metrics, METRIC: reward})
        for verdict, reward in zip(verdicts, rewards, strict=True)
    ]
