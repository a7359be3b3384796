"""What stands in the way of a fair comparison, in words; the report puts it at its top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rlsd_pl.commands.report.load import Run, differing, shortly
from rlsd_pl.commands.runs import LOG_FILE
from rlsd_pl.persistence.lock import LockedError, refuse_if_held

BUDGET = (
    *("data.prompts_per_rollout", "data.group_size", "data.updates_per_rollout", "data.max_completion_tokens"),
    *("data.max_resampling_rounds", "data.temperature", "trainer.max_epochs"),
)
"""Settings that say how much a run may sample and learn from."""

YARDSTICK = ("data.val_problems", "data.val_samples", "verifier", "trainer.check_val_every_n_epoch")
"""Settings that say how it is measured."""

BEGINNING = ("model.name_or_path", "model.lora.r")
"""Where training starts."""

FIRST = ("rollout/reward", "rollout/length")
"""What is the same after the first rollout where two runs have sampled the same completions."""

Check = Callable[[Sequence[Run], str | None], list[str]]


def warnings(runs: Sequence[Run], baseline: str | None) -> list[str]:
    """Everything that a reader has to know before the figures, the gravest first."""
    checks: tuple[Check, ...] = (
        *(_data, _budgets, _first_rollouts, _unfinished, _twice, _seeds, _absent_runs),
        *(_keys, _no_baseline),
    )
    return [text for check in checks for text in check(runs, baseline)]


def _data(runs: Sequence[Run], _: str | None) -> list[str]:
    """Runs on other problems cannot be compared at all."""
    recorded: dict[str, list[Run]] = {}
    for run in runs:
        recorded.setdefault("unknown" if run.data is None else str(sorted(run.data.items())), []).append(run)
    texts = []
    if unknown := recorded.pop("unknown", []):
        texts.append(f"{_named(unknown)}: no fingerprint of the data was recorded, so it cannot be compared.")
    if len(recorded) > 1:
        kinds = "; ".join(_named(group) for group in recorded.values())
        texts.append(f"Not a fair comparison: these runs were trained or evaluated on different data: {kinds}.")
    return texts


def _budgets(runs: Sequence[Run], _: str | None) -> list[str]:
    texts = []
    for keys, what in ((BUDGET, "rollout budgets"), (YARDSTICK, "evaluations"), (BEGINNING, "models")):
        for key in differing([{key: run.settings.get(key) for key in keys} for run in runs]):
            texts.append(f"Not a fair comparison: different {what}: {_by_value(runs, key)}.")
    return texts


def _first_rollouts(runs: Sequence[Run], _: str | None) -> list[str]:
    """On one seed, whatever samples for itself samples the same completions before its first update."""
    texts = []
    for seed in sorted({run.seed for run in runs}):
        first = {run: tuple(run.history.get(key, {}).get(1) for key in FIRST) for run in runs if run.seed == seed}
        sampled = {run: values for run, values in first.items() if None not in values and _samples(run)}
        if len(set(sampled.values())) > 1:
            texts.append(
                f"Seed {seed}: the rollouts of iteration 1 are not the same in {_named(list(sampled))}; on one seed "
                "they should be, so these runs differ in more than their objective (see the settings below)."
            )
    return texts


def _samples(run: Run) -> bool:
    tokens = run.history.get("perf/generated_tokens", {})
    return "objective.fields" not in run.settings and (1 not in tokens or tokens[1] > 0)


def _unfinished(runs: Sequence[Run], _: str | None) -> list[str]:
    texts = []
    for run in runs:
        if not run.finished:
            planned = f" of {run.planned}" if run.planned else ""
            held = ", still being written" if _held(run.folder) else ""
            log = f"; its log is {run.folder / LOG_FILE}" if (run.folder / LOG_FILE).exists() else ""
            texts.append(
                f"Unfinished: {run} is at iteration {run.iteration}{planned}{held}. Its curves are drawn; it is in no "
                f"mean, band or table{log}."
            )
    return texts


def _held(folder: Path) -> bool:
    try:
        refuse_if_held(folder)
    except LockedError:
        return True
    return False


def _twice(runs: Sequence[Run], _: str | None) -> list[str]:
    counts = Counter((run.objective, run.seed) for run in runs)
    return [
        f"{objective} is there {count} times on seed {seed}; the one in "
        f"{[run.folder for run in runs if (run.objective, run.seed) == (objective, seed)][-1]} counts."
        for (objective, seed), count in counts.items()
        if count > 1
    ]


def _seeds(runs: Sequence[Run], baseline: str | None) -> list[str]:
    seeds = _seeds_of(runs)
    texts = []
    if single := [name for name, own in seeds.items() if len(own) == 1]:
        texts.append(f"One seed only, so no interval: {', '.join(single)}. Nothing is known of the spread over seeds.")
    base = seeds.get(baseline or "", set())
    others: dict[tuple[int, ...], list[str]] = {}
    for name, own in seeds.items():
        if own and base and own != base:
            others.setdefault(tuple(sorted(own)), []).append(name)
    for own, names in others.items():
        if common := base.intersection(own):
            texts.append(
                f"{', '.join(names)}: seeds {_listed(own)}, and {baseline} {_listed(base)}; differences are of the "
                f"common ones alone, {_listed(common)}."
            )
        else:
            texts.append(f"{', '.join(names)} and {baseline} have no common seed, so no difference can be paired.")
    return texts


def _seeds_of(runs: Sequence[Run]) -> Mapping[str, set[int]]:
    return {
        name: {run.seed for run in runs if run.objective == name and run.finished}
        for name in dict.fromkeys(run.objective for run in runs)
    }


def _absent_runs(runs: Sequence[Run], _: str | None) -> list[str]:
    """Objectives that lack, as a folder, a seed that others have: a sweep that is under way."""
    there = {(run.objective, run.seed) for run in runs}
    objectives, seeds = dict.fromkeys(run.objective for run in runs), sorted({run.seed for run in runs})
    absent = {name: [s for s in seeds if (name, s) not in there] for name in objectives}
    return [f"{name} has no run on seed {_listed(lacking)}." for name, lacking in absent.items() if lacking]


def _keys(runs: Sequence[Run], _: str | None) -> list[str]:
    """Runs that have logged nothing, series that only some have, runs that were not evaluated at their end."""
    silent = [run for run in runs if not run.history]
    texts = [f"{_named(silent)}: nothing was logged as CSV, so there is nothing to show."] if silent else []
    logged = [run for run in runs if run.history and run.finished]
    lacking: dict[str, list[str]] = {}
    for key in sorted({key for run in logged for key in run.history if key.startswith("val/")}):
        if without := [run for run in logged if key not in run.history]:
            lacking.setdefault(_named(without), []).append(key)
    texts += [f"{named} did not log {', '.join(keys)}, which others did." for named, keys in lacking.items()]
    late = [run for run in logged if run.planned and not any(run.planned in s for k, s in run.history.items()
                                                             if k.startswith("val/"))]  # fmt: skip
    if late:
        texts.append(
            f"{_named(late)}: no evaluation after the last iteration, so no final figures. Let "
            "--trainer.check_val_every_n_epoch divide --trainer.max_epochs."
        )
    return texts


def _no_baseline(runs: Sequence[Run], baseline: str | None) -> list[str]:
    names = list(dict.fromkeys(run.objective for run in runs))
    if baseline is None and len(names) > 1:
        return [f"No baseline, so no differences: set --baseline to one of {', '.join(names)}."]
    return []


def _named(runs: Sequence[Run]) -> str:
    """Objectives with their seeds."""
    by_name: dict[str, list[int]] = {}
    for run in runs:
        by_name.setdefault(run.objective, []).append(run.seed)
    return ", ".join(f"{name} (seed {_listed(seeds)})" for name, seeds in by_name.items())


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds))) or "none"


def _by_value(runs: Sequence[Run], key: str) -> str:
    groups: dict[str, dict[str, None]] = {}
    for run in runs:
        groups.setdefault(shortly(run.settings.get(key)), {})[run.objective] = None
    return f"{key} is " + ", ".join(f"{value} in {', '.join(names)}" for value, names in groups.items())
