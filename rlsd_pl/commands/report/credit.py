"""Recorded rollouts with the credit of each token, to click through in a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsd_pl.commands.credit_map import clean
from rlsd_pl.commands.report.load import Run
from rlsd_pl.commands.report.study import Study
from rlsd_pl.commands.rollouts import FILE, printable, read

COMPLETIONS = 4
"""Of one group."""

MOST_TOKENS = 300


@dataclass(frozen=True)
class Token:
    """One token; ``tint`` goes from -1 (lowered most) to 1 (raised most), ``told`` are its numbers."""

    text: str
    tint: float
    told: str


@dataclass(frozen=True)
class Completion:
    """A completion with its verdict, in words."""

    head: str
    prompt: str
    tokens: Sequence[Token]


@dataclass(frozen=True)
class Trace:
    """The first recorded group of an iteration of a run."""

    objective: str
    seed: int
    iteration: int
    completions: Sequence[Completion]


def traces(study: Study) -> list[Trace]:
    """Of each objective, one run: the first iteration with credit and the last."""
    found: list[Trace] = []
    for name in study.objectives:
        runs = sorted(
            (run for run in study.runs if run.objective == name), key=lambda run: (not run.finished, run.seed)
        )
        found += next(filter(None, map(_of_run, runs)), [])
    return found


def _of_run(run: Run) -> list[Trace]:
    path = run.folder / FILE
    credited = [group for group in _groups(path) if _largest(group) > 0] if path.exists() else []
    chosen = credited[:1] + (credited[-1:] if len(credited) > 1 else [])
    return [Trace(run.objective, run.seed, group[0]["iteration"], _completions(group)) for group in chosen]


def _groups(path: Any) -> Iterator[list[Mapping[str, Any]]]:
    """The first recorded group of each iteration."""
    group: list[Mapping[str, Any]] = []
    for record in read(path):
        if group and record["iteration"] != group[0]["iteration"]:
            yield group
            group = []
        if not group or record["problem"] == group[0]["problem"]:
            group.append(record)
    if group:
        yield group


def _largest(group: Sequence[Mapping[str, Any]]) -> float:
    return max((abs(x) for record in group for x in record.get("token_advantages") or ()), default=0.0)


def _completions(group: Sequence[Mapping[str, Any]]) -> list[Completion]:
    largest = _largest(group)
    # The extremes of the group are what its credit tells apart.
    ordered = sorted(group, key=lambda record: record["reward"], reverse=True)
    shown = ordered if len(ordered) <= COMPLETIONS else ordered[: COMPLETIONS // 2] + ordered[-(COMPLETIONS // 2) :]
    return [Completion(_head(record), printable(record["prompt"]), _tokens(record, largest)) for record in shown]


def _head(record: Mapping[str, Any]) -> str:
    expected = "" if record.get("reference_answer") is None else f" (expected {record['reference_answer']})"
    return printable(
        f"{record['status']}, reward {record['reward']:g}, advantage {record['advantage']:+.2f}, "
        f"answer {record['answer']}{expected}"
    )


def _tokens(record: Mapping[str, Any], largest: float) -> list[Token]:
    """With every number that the record has for each token."""
    count = len(record["tokens"])
    numbers = {
        key: values
        for key, values in record.items()
        if key != "tokens" and isinstance(values, list) and len(values) == count and count
    }
    credit = record.get("token_advantages") or [0.0] * count
    return [
        Token(
            printable(clean(token, "\u21b5\n")),
            round(credit[place] / largest, 3),
            ", ".join(f"{key.replace('token_advantages', 'credit')} {v[place]:+.3g}" for key, v in numbers.items()),
        )
        for place, token in enumerate(record["tokens"][:MOST_TOKENS])
    ]
