"""Several verifiers as one: a weighted sum, or gates before a last word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.verdicts import MAX_DETAIL

RESERVED = frozenset(
    (
        *("reward", "length", "truncated", "zero_variance_groups", "resampling_rounds", "replaced"),
        *("no_context", "no_contrast", "contrast_passed_over"),
    )
) | {f"status_{status}" for status in Status}
"""Names under ``rollout/`` that are not a verifier's to fill."""


class CompositeVerifier(Verifier):
    """What the two composites share: named parts, each of which judges every completion."""

    def __init__(self, parts: Mapping[str, Verifier]) -> None:
        if not parts:
            raise ValueError("got no parts, expected at least one; set parts={'name': verifier}")
        if taken := sorted(parts.keys() & RESERVED):
            raise ValueError(f"got parts named {taken}, which rollouts are logged under already; give them other names")
        self.parts = dict(parts)
        self.metric_names = tuple(
            key for name, part in parts.items() for key in (name, *(f"{name}_{k}" for k in part.metric_names))
        )
        self.span_names = tuple(dict.fromkeys(name for part in parts.values() for name in part.span_names))
        self.instruction = " ".join(part.instruction for part in self.parts.values() if part.instruction)

    def check(self, problem: Problem) -> str | None:
        """The first part's reason, with its name."""
        return self.check_all([problem])[0]

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """:meth:`check` of many problems, part by part."""
        by_part = [
            [reason and f"{name}: {reason}" for reason in p.check_all(problems)] for name, p in self.parts.items()
        ]
        return [next(filter(None, reasons), None) for reasons in zip(*by_part, strict=True)]

    def bind(self, end_of_turn: Sequence[str]) -> None:
        for part in self.parts.values():
            part.bind(end_of_turn)

    def close(self) -> None:
        for part in self.parts.values():
            part.close()


def parts_of(verifier: Verifier) -> list[Verifier]:
    """The verifiers that judge: those that a composite is made of, or the one itself."""
    if not isinstance(verifier, CompositeVerifier):
        return [verifier]
    return [leaf for part in verifier.parts.values() for leaf in parts_of(part)]


class WeightedVerifier(CompositeVerifier):
    """reward = sum of weight * reward over the parts, the weights made to sum to 1.

    The status is ``error`` if any part's is, ``pass`` if every part passes, else of the heaviest that does not.

    Args:
        parts: verifiers by name; each name becomes a metric with the part's reward.
        weights: positive, one for each part.
    """

    def __init__(self, parts: Mapping[str, Verifier], weights: Mapping[str, float]) -> None:
        super().__init__(parts)
        if weights.keys() != self.parts.keys() or any(weight <= 0 for weight in weights.values()):
            raise ValueError(f"got weights {dict(weights)}, expected a positive one for each of {list(self.parts)}")
        total = sum(weights.values())
        self.weights = {name: weights[name] / total for name in self.parts}

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        by_part = [part.verify(texts, problems) for part in self.parts.values()]
        return [self._combine(dict(zip(self.parts, verdicts, strict=True))) for verdicts in zip(*by_part, strict=True)]

    def _combine(self, verdicts: Mapping[str, Verdict]) -> Verdict:
        errors = [name for name, verdict in verdicts.items() if verdict.status is Status.ERROR]
        others = [name for name, verdict in verdicts.items() if verdict.status is not Status.PASS]
        heaviest = max(errors or others or verdicts, key=self.weights.__getitem__)
        # The weights may add up to a little less than 1.
        full = all(verdict.reward == 1.0 for verdict in verdicts.values())
        reward = 1.0 if full else sum(self.weights[name] * verdict.reward for name, verdict in verdicts.items())
        return _merged(0.0 if errors else min(reward, 1.0), heaviest, verdicts)


class GatedVerifier(CompositeVerifier):
    """Every part must pass, in order; the reward is the last part's. The first that does not pass gives the verdict.

    A completion that a gate stops is not judged further, so that an expensive last part sees few of them.

    Args:
        parts: verifiers by name, the gates first; each name that judged becomes a metric with its reward.
    """

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        judged: list[dict[str, Verdict]] = [{} for _ in texts]
        remaining = list(range(len(texts)))
        for name, part in self.parts.items():
            verdicts = part.verify([texts[i] for i in remaining], [problems[i] for i in remaining])
            for index, verdict in zip(remaining, verdicts, strict=True):
                judged[index][name] = verdict
            remaining = [i for i in remaining if judged[i][name].status is Status.PASS]
        return [self._last(verdicts) for verdicts in judged]

    @staticmethod
    def _last(verdicts: Mapping[str, Verdict]) -> Verdict:
        name = list(verdicts)[-1]
        return _merged(verdicts[name].reward, name, verdicts)


def _merged(reward: float, decisive: str, verdicts: Mapping[str, Verdict]) -> Verdict:
    """The decisive part's status, detail and answer (else the first that there is); metrics and spans of all parts."""
    metrics = {name: verdict.reward for name, verdict in verdicts.items() if verdict.status is not Status.ERROR}
    spans = {}
    for name, verdict in verdicts.items():
        metrics |= {f"{name}_{key}": value for key, value in verdict.metrics.items()}
        spans |= verdict.spans
    last = verdicts[decisive]
    answers = [last.answer, *(verdict.answer for verdict in verdicts.values())]
    answer = next((answer for answer in answers if answer is not None), None)
    return Verdict(reward, last.status, f"{decisive}: {last.detail}"[:MAX_DETAIL], metrics, spans, answer)
