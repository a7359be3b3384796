"""What a verifier may return; everything else is an error that names the verifier and the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlsd_pl.errors import SetupError, UserCodeError
from rlsd_pl.objectives import Objective
from rlsd_pl.types import Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.composite import RESERVED
from rlsd_pl.verifiers.values import as_number


def verifier_name(verifier: Verifier) -> str:
    """Class of the verifier, and its function where it wraps one."""
    function = getattr(verifier, "function", None)
    name = getattr(function, "__qualname__", None)
    return type(verifier).__name__ + (f" ({function.__module__}.{name})" if name else "")


def check_span_names(verifier: Verifier, objective: Objective) -> None:
    """Whether the verifier marks the spans that the objective reads.

    Raises:
        SetupError: if it does not.
    """
    if missing := sorted(set(objective.needs.verdict_spans) - set(verifier.span_names)):
        raise SetupError(
            f"Got {type(objective).__name__}, which reads the spans {missing} of a verdict, with "
            f"{verifier_name(verifier)}, which marks {sorted(verifier.span_names) or 'none'}; expected a verifier that "
            "marks them. Set --verifier to one whose span_names list them (in the lab: LabVerifier), or another "
            "--objective."
        )


def checked_verdicts(verifier: Verifier, returned: Any, count: int) -> list[Verdict]:
    """The verdicts with plain numbers in them.

    Numpy scalars and 0-d tensors become floats, and the names of statuses become statuses.

    Raises:
        UserCodeError: for another number of verdicts, or a value that a verdict cannot hold.
    """
    name = verifier_name(verifier)
    if not isinstance(returned, Sequence) or isinstance(returned, str) or len(returned) != count:
        got = f"{len(returned)}" if isinstance(returned, Sequence) else f"{returned!r:.80}"
        raise UserCodeError(
            f"{name}.verify returned {got} for {count} completions; expected a list of {count} verdicts, one for each."
        )
    return [_checked(name, verdict) for verdict in returned]


def _checked(name: str, verdict: Any) -> Verdict:
    if not isinstance(verdict, Verdict):
        raise UserCodeError(
            f"{name}.verify returned {verdict!r:.80} for a completion; expected a Verdict, for example Verdict(1.0, "
            "Status.PASS). FunctionVerifier takes functions that return numbers."
        )
    reward = as_number(verdict.reward)
    if reward is None or not 0 <= reward <= 1:
        raise _refused(name, "reward", verdict.reward, "a finite number from 0 to 1")
    try:
        status = Status(verdict.status)
    except ValueError:
        raise _refused(name, "status", verdict.status, f"one of {', '.join(Status)}") from None
    for field, value in (("detail", verdict.detail), ("answer", verdict.answer)):
        if not isinstance(value, str) and (field, value) != ("answer", None):
            raise _refused(name, field, value, "text" if field == "detail" else "text or None")
    if not isinstance(verdict.spans, Mapping) or not all(map(_are_spans, verdict.spans.values())):
        raise _refused(name, "spans", verdict.spans, "a mapping from names to (start, end) pairs")
    return replace(verdict, reward=reward, status=status, metrics=_metrics(name, verdict.metrics))


def _are_spans(spans: Any) -> bool:
    return isinstance(spans, Sequence) and all(
        isinstance(span, Sequence) and len(span) == 2 and all(isinstance(place, int) for place in span)
        for span in spans
    )


def _metrics(name: str, metrics: Any) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise _refused(name, "metrics", metrics, "a mapping from names to numbers")
    if taken := sorted(RESERVED & metrics.keys()):
        raise _refused(name, "metrics", taken, "names that rollouts are not logged under already")
    plain: dict[str, float] = {}
    for key, value in metrics.items():
        number = as_number(value)
        if number is None or not isinstance(key, str):
            raise _refused(name, f"metrics[{key!r}]", value, "a finite number, since metrics are averaged and logged")
        plain[key] = number
    return plain


def _refused(name: str, field: str, value: Any, expected: str) -> UserCodeError:
    return UserCodeError(f"{name}.verify returned a verdict with {field}={value!r:.80}; expected {expected}.")
