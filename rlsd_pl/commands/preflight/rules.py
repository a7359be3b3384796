"""What each extraction rule would find in the same completions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlsd_pl.commands.preflight.figures import Share, clustered
from rlsd_pl.types import Rollout
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.composite import parts_of
from rlsd_pl.verifiers.extraction import ExtractionRule


@dataclass(frozen=True)
class RuleOutcome:
    """A rule on completions that were sampled under the run's own instruction.

    Attributes:
        path: its class, for ``--verifier.rule``.
        own: the run's own.
        extracted: share of completions with an answer.
        accuracy: share that the verifier passes under this rule.
    """

    path: str
    own: bool
    extracted: Share
    accuracy: Share

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def rule_outcomes(verifier: Verifier, groups: Sequence[Sequence[Rollout]]) -> list[RuleOutcome]:
    """Of every rule there is, the run's own first; empty for a verifier that has none.

    Of a composite the first part with a rule is asked, alone.
    """
    judge = extracting(verifier)
    if judge is None:
        return []
    own: ExtractionRule = judge.rule  # type: ignore[attr-defined]
    others = [rule for rule in available_rules() if type(rule) is not type(own)]
    return [_outcome(judge, rule, rule is own, groups) for rule in (own, *others)]


def extracting(verifier: Verifier) -> Verifier | None:
    """The verifier, or the first part of it, that has a rule."""
    return next((part for part in parts_of(verifier) if isinstance(getattr(part, "rule", None), ExtractionRule)), None)


def available_rules() -> list[ExtractionRule]:
    """One of each class of rule that needs no arguments, a user's own included."""
    return [kind() for kind in _kinds(ExtractionRule) if not inspect.isabstract(kind) and _needs_nothing(kind)]


def _kinds(base: type[ExtractionRule]) -> Iterator[type[ExtractionRule]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _needs_nothing(kind: type) -> bool:
    parameters = inspect.signature(kind).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _outcome(judge: Verifier, rule: ExtractionRule, own: bool, groups: Sequence[Sequence[Rollout]]) -> RuleOutcome:
    rule.bind(judge.rule.end_of_turn)  # type: ignore[attr-defined]
    under = copy.copy(judge)
    under.rule = rule  # type: ignore[attr-defined]
    rollouts = [rollout for group in groups for rollout in group]
    verdicts = iter(under.verify([r.completion.text for r in rollouts], [r.problem for r in rollouts]))
    right = [[next(verdicts).reward == 1.0 for _ in group] for group in groups]
    found = [[rule.extract(rollout.completion.text).answer is not None for rollout in group] for group in groups]
    path = f"{type(rule).__module__}.{type(rule).__qualname__}"
    return RuleOutcome(path, own, clustered(found), clustered(right))
