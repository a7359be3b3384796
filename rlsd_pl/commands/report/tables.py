"""The tables of a report, each with the rows of its CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict

from rlsd_pl.commands.report.costs import costs
from rlsd_pl.commands.report.study import ACCURACIES, REWARD, Measure, Study, final
from rlsd_pl.commands.report.table import Row, Table
from rlsd_pl.commands.sweep.results import final_metrics, shown
from rlsd_pl.comparison import (
    Comparison,
    Crossing,
    Ratio,
    Share,
    common_seeds,
    compare,
    iteration_ratio,
    share_of_ceiling,
)


def all_tables(study: Study) -> list[Table]:
    """Everything that can be said of these runs in tables, the headline first."""
    finals = {name: final(key) for name, key in ACCURACIES.items() if study.has(key)}
    curves = {**ACCURACIES, "reward of rollouts": REWARD}
    areas = {name: study.area(key) for name, key in curves.items() if study.has(key)}
    tables = [
        *(_compared(study, "final", f"Final {name}", name, measure) for name, measure in finals.items()),
        *(_compared(study, "area", f"Area under the curve: {name}", name, measure) for name, measure in areas.items()),
        *_targets(study),
        *_shares(study),
        *_others(study),
        costs(study),
    ]
    return [table for table in tables if table.rows]


# --- means and differences --------------------------------------------------------------------------------------------


def _compared(study: Study, name: str, title: str, metric: str, measure: Measure) -> Table:
    compared = compare(study.by_seed(measure), study.baseline)
    columns: dict[str, Callable[[Comparison], str]] = {
        "objective": lambda each: each.objective,
        "runs": lambda each: str(each.n),
        "mean": lambda each: plus_minus(each.mean, each.half_width),
        "IQM": lambda each: number(each.iqm) if each.n > 3 else "",  # of fewer it is the mean
    }
    if study.baseline is not None:
        columns[f"difference from {study.baseline}"] = _difference
        columns["common seeds"] = lambda each: str(each.common_seeds or "")
        columns["P(better)"] = lambda each: "" if math.isnan(each.probability) else f"{each.probability:.2f}"
    columns = {head: cell for head, cell in columns.items() if any(cell(each) for each in compared)}
    rows = [Row([cell(each) for cell in columns.values()], each.objective) for each in compared if each.n]
    records = [{"metric": metric, **asdict(each)} for each in compared]
    return Table(f"{name}-{metric.replace(' ', '-')}", title, list(columns), rows, records=records)


def _difference(each: Comparison) -> str:
    return shown(each.difference, each.difference_half_width, "+")


def number(value: float) -> str:
    """Three decimals for shares, fewer for large numbers; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def plus_minus(mean: float, half_width: float) -> str:
    """``mean ± half_width`` where there is an interval."""
    return number(mean) if math.isnan(half_width) else f"{number(mean)} ± {number(half_width)}"


def _others(study: Study) -> list[Table]:
    """One column per further figure, after the last iteration."""
    logged = {key for runs in study.finished.values() for run in runs.values() for key in run.history}
    metrics = {name: key for name, key in final_metrics(logged).items() if name not in ACCURACIES}
    further = sorted(key for key in logged if key.startswith("leakage/") and key not in metrics.values())
    metrics |= {key.removeprefix("leakage/").replace("_", " "): key for key in further}
    found = {name: compare(study.by_seed(final(key)), study.baseline) for name, key in metrics.items()}
    found = {name: compared for name, compared in found.items() if any(each.n for each in compared)}
    rows = [
        Row([name, *(plus_minus(compared[i].mean, compared[i].half_width) for compared in found.values())], name)
        for i, name in enumerate(study.objectives)
        if any(compared[i].n for compared in found.values())
    ]
    records = [{"metric": name, **asdict(each)} for name, compared in found.items() for each in compared]
    note = "Mean ± half-width of the 95 % t interval; the CSV has the paired differences."
    heads = ["objective", *found]
    return [Table("final-others", "Further figures after the last iteration", heads, rows, note, records)]


# --- iterations to target ---------------------------------------------------------------------------------------------


def _targets(study: Study) -> list[Table]:
    if (target := study.target) is None:
        return []
    crossings = study.crossings(target)
    base = crossings.get(study.baseline or "", {})
    rows, records = [], []
    for name, own in crossings.items():
        if not own:
            continue
        ratio = iteration_ratio(own, base)
        told = name != study.baseline and base
        rows.append(Row([name, _reached(own), ratio_cell(ratio) if told else ""], name))
        records += [
            {"objective": name, "seed": seed, "target": target, "iteration": found.iteration, "reached": found.reached}
            for seed, found in own.items()
        ]
    how = "given" if study.wanted_target is not None else f"nine tenths of the mean gain of {study.baseline}"
    note = (
        f"Target {target:.3f} of {study.key} ({how}), reached where the curve, averaged over three neighbouring "
        "evaluations, first crosses it. Times fewer: geometric mean of the ratios on common seeds with its t interval; "
        "a run that does not reach the target makes it a bound."
    )
    heads = ["objective", "iterations to target", f"times fewer than {study.baseline}"]
    return [Table("iterations-to-target", "Iterations to target", heads, rows, note, records)]


def _reached(crossings: Mapping[int, Crossing]) -> str:
    times = [found.iteration for found in crossings.values() if found.reached]
    late = len(crossings) - len(times)
    mean = f"{sum(times) / len(times):.1f}" if times else ""
    if not late:
        return mean
    last = max(found.iteration for found in crossings.values())
    return f"{len(times)} of {len(crossings)} runs by iteration {last:.0f}" + (f", those after {mean}" if mean else "")


def ratio_cell(ratio: Ratio) -> str:
    """How many times fewer iterations, with the interval, or what is known instead."""
    if ratio.relation == "?":
        return "undefined: runs on both sides do not reach it" if ratio.seeds else "no common seed"
    if ratio.relation != "=":
        return f"at {'most' if ratio.relation == '<=' else 'least'} {ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f}" + ("" if math.isnan(ratio.low) else f" [{ratio.low:.2f}, {ratio.high:.2f}]")


# --- share of the ceiling ---------------------------------------------------------------------------------------------


def _shares(study: Study) -> list[Table]:
    if study.ceiling is None or study.baseline is None or not study.has(study.key):
        return []
    measured = {"area under the curve": study.by_seed(study.area(study.key)), "final": study.by_seed(final(study.key))}
    if study.target is not None:
        measured[SAVED] = _saved(study.crossings(study.target))
    rows, records = [], []
    for name in study.objectives:
        if name in (study.baseline, study.ceiling) or not study.finished[name]:
            continue
        shares = {what: _share_of(values, name, study) for what, values in measured.items()}
        rows.append(Row([name, *map(share_cell, shares.values())], name))
        records += [{"objective": name, "of": what, **share._asdict()} for what, share in shares.items()]
    note = (
        f"(objective - {study.baseline}) / ({study.ceiling} - {study.baseline}) of {study.key}, means over common "
        "seeds with Fieller's 95 % interval. Undefined where the ceiling's own difference may be 0, or a run does not "
        "reach the target."
    )
    return [Table("share-of-ceiling", "Share of the ceiling", ["objective", *measured], rows, note, records)]


SAVED = "iterations saved"


def _saved(crossings: Mapping[str, Mapping[int, Crossing]]) -> dict[str, dict[int, float]]:
    """Minus the iterations to target, so that more is better; NaN for a run that does not get there."""
    return {
        name: {seed: -found.iteration if found.reached else math.nan for seed, found in own.items()}
        for name, own in crossings.items()
    }


def _share_of(values: Mapping[str, Mapping[int, float]], name: str, study: Study) -> Share:
    three = values[name], values[study.baseline or ""], values[study.ceiling or ""]
    if any(math.isnan(value) for each in three for value in each.values()):
        return Share(math.nan, math.nan, math.nan, len(common_seeds(*three)), "a run does not reach the target")
    return share_of_ceiling(*three)


def share_cell(share: Share) -> str:
    """A share of the ceiling with its interval, or why there is none."""
    return f"undefined: {share.reason}" if share.reason else f"{share.share:.2f} [{share.low:.2f}, {share.high:.2f}]"
