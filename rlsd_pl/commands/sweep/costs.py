"""What a run has cost, by its log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rlsd_pl.commands.runs import History

COSTS = {
    "tokens generated": ("perf/generated_tokens",),
    "completions scored": ("perf/scored_completions",),
    "training seconds": ("perf/rollout_seconds", "perf/update_seconds"),
}
"""Names, and the series that are summed over iterations. Evaluations are in none of them."""


def costs(history: History) -> dict[str, float]:
    """By name; what a run has not logged is absent."""
    return {
        name: sum(sum(history[key].values()) for key in keys)
        for name, keys in COSTS.items()
        if all(key in history for key in keys)
    }


def total(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name."""
    found: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, 0.0) + value
    return found
