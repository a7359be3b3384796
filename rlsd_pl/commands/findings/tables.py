"""The tables of docs/results.md, from the records of its CSVs alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy import stats

from rlsd_pl.commands.findings.collect import ACCURACY, MAIN, Record
from rlsd_pl.commands.report.load import Run
from rlsd_pl.commands.report.study import Measure, Study, final
from rlsd_pl.commands.report.tables import plus_minus, ratio_cell, share_cell
from rlsd_pl.commands.sweep.costs import COSTS
from rlsd_pl.commands.sweep.results import shown
from rlsd_pl.comparison import (
    BySeed,
    PairedDifference,
    compare,
    iteration_ratio,
    mean_interval,
    paired_difference,
    share_of_ceiling,
)

BASELINE, CEILING = "rlvr", "oracle"

Cells = list[list[str]]
"""A head and rows."""

METHOD_HEADS = (
    *("method", "learning rate", "final", "final - RLVR", "area - RLVR", "times fewer iterations"),
    "share of the ceiling",
)
CEILING_HEADS = ("lab", "RLVR, final", "oracle, final", "oracle there at", "of RLVR's iterations", "times sooner")


def study_of(records: Sequence[Record]) -> Study:
    """Records as a report sees runs, for its figures; the target is half of the baseline's mean gain."""
    runs = [
        Run(Path(), r.method, r.seed, {}, r.history, max(r.history[ACCURACY]), finished=True, data=None)
        for r in records
        if ACCURACY in r.history
    ]
    names = {run.objective for run in runs}
    own = [run.history[ACCURACY] for run in runs if run.objective == BASELINE]
    target = sum(series[0] + series[max(series)] for series in own) / (2 * len(own)) if own else None
    ceiling = CEILING if CEILING in names else None
    return Study(runs, BASELINE if own else None, ceiling, ACCURACY, target)


def of(records: Sequence[Record], lab: str, *parts: str) -> list[Record]:
    """Records of one lab, of these sweeps."""
    return [record for record in records if record.lab == lab and record.part in parts]


# --- methods against the baseline ------------------------------------------------------------------------------------


def methods(records: Sequence[Record], reference: Sequence[Record] = ()) -> Cells:
    """Each method against RLVR on common seeds, and as a share of the ceiling.

    Args:
        records: of the methods to tell.
        reference: of the baseline and the ceiling, where they are not among these.
    """
    own = [record.method for record in records]
    study = study_of([*records, *(record for record in reference if record.method not in own)])
    final_values, areas = study.by_seed(final(ACCURACY)), study.by_seed(study.area(ACCURACY))
    crossings = study.crossings(study.target or math.nan)
    base = study.baseline or ""
    names = [name for name in study.objectives if name in own]
    names.sort(key=lambda name: -_mean(areas[name]))
    rows = []
    for name in names:
        compared = name != base
        rows.append([
            f"`{name}`",
            _figure(records, name, "lr"),
            _shown(final_values[name]),
            _difference(final_values[name], final_values.get(base, {})) if compared else "",
            _difference(areas[name], areas.get(base, {})) if compared else "",
            ratio_cell(iteration_ratio(crossings[name], crossings.get(base, {}))) if compared else "",
            _share(areas, name, study) if name not in (base, study.ceiling) else "",
        ])  # fmt: skip
    return [list(METHOD_HEADS), *rows]


def controls(records: Sequence[Record], reference: Sequence[Record]) -> Cells:
    """:func:`methods` of RLSD and its controls, and how far the area of RLSD lies above each control's."""
    heads, *rows = methods(records, reference)
    study = study_of(records)
    areas = study.by_seed(study.area(ACCURACY))
    told = {f"`{name}`": _difference(areas["rlsd"], own) for name, own in areas.items() if name != "rlsd"}
    return [[*heads, "area of rlsd - this"], *([*row, told.get(row[0], "")] for row in rows)]


def _shown(values: BySeed) -> str:
    return plus_minus(*mean_interval(list(values.values()))) if values else ""


def _mean(values: BySeed) -> float:
    return sum(values.values()) / len(values) if values else math.nan


def _difference(method: BySeed, baseline: BySeed) -> str:
    found = paired_difference(method, baseline)
    return shown(found.mean, found.half_width, "+")


def _share(values: Mapping[str, BySeed], name: str, study: Study) -> str:
    if study.ceiling is None:
        return ""
    return share_cell(share_of_ceiling(values[name], values.get(study.baseline or "", {}), values[study.ceiling]))


def _figure(records: Sequence[Record], name: str, figure: str) -> str:
    values = {r.figures[figure] for r in records if r.method == name and figure in r.figures}
    return " / ".join(f"{value:g}" for value in sorted(values))


def ceiling(records: Sequence[Record], labs: Sequence[str]) -> Cells:
    """RLVR and perfect credit in each lab: how much sooner the latter is where RLVR ends."""
    rows = []
    for lab in labs:
        study = study_of(of(records, lab, MAIN))
        if study.baseline is None or study.ceiling is None:
            continue
        values = study.by_seed(final(ACCURACY))
        crossings = study.crossings(_mean(values[BASELINE]))
        reached = [crossing.iteration for crossing in crossings[CEILING].values() if crossing.reached]
        last = max(crossing.iteration for crossing in crossings[BASELINE].values())
        rows.append([
            f"`{lab}`",
            *(_shown(values[name]) for name in (BASELINE, CEILING)),
            f"{plus_minus(*mean_interval(reached))} ({len(reached)} seeds)" if reached else "",
            f"{last:.0f}",
            f"{last * len(reached) / sum(reached):.1f}" if reached else "",
        ])  # fmt: skip
    return [list(CEILING_HEADS), *rows]


# --- credit, leakage, pass@k -----------------------------------------------------------------------------------------


def credit(records: Sequence[Record]) -> Cells:
    """AUROC and precision of credit for decisive tokens, beside what a method gains."""
    study = study_of(records)
    gained = gains(study)
    auroc, precision = (study.by_seed(mean_of(key)) for key in ("credit/auroc", "credit/precision_at_k"))
    told = [name for name in gained if auroc[name]]
    told.sort(key=lambda name: -_mean(auroc[name]))
    rows = [
        [
            f"`{name}`",
            _shown(auroc[name]),
            _shown(precision[name]),
            shown(gained[name].mean, gained[name].half_width, "+"),
        ]
        for name in told
    ]
    return [["method", "AUROC", "precision at k", "area - RLVR"], *rows]


def gains(study: Study) -> dict[str, PairedDifference]:
    """Of each method, how far its area lies above RLVR's on common seeds."""
    areas = study.by_seed(study.area(ACCURACY))
    base = areas.get(study.baseline or "", {})
    return {name: paired_difference(own, base) for name, own in areas.items() if name != study.baseline}


def rank_correlation(records: Sequence[Record]) -> str:
    """Spearman's correlation over methods, the ceiling aside, between mean AUROC and mean gain in area."""
    study = study_of(records)
    auroc, gained = study.by_seed(mean_of("credit/auroc")), gains(study)
    told = [name for name in gained if auroc[name] and name != study.ceiling]
    if len(told) < 3:
        return ""
    correlation, p = stats.spearmanr([_mean(auroc[name]) for name in told], [gained[name].mean for name in told])
    return f"Spearman's rank correlation over {len(told)} methods: {correlation:.2f} (p = {p:.2g})."


def mean_of(key: str) -> Measure:
    """A series' mean over all iterations that have it."""

    def measure(run: Run) -> float | None:
        values = [value for value in run.history.get(key, {}).values() if math.isfinite(value)]
        return sum(values) / len(values) if values else None

    return measure


SIGNS = {
    "hollow answers": "leakage/hollow_rate",
    "answer first": "leakage/answer_first",
    "invalid": "leakage/invalid_rate",
    "answer forced before reasoning": "leakage/answer_before",
    "answer at once": "leakage/rollout_at_once",
}
"""Signs of leakage, by the words of the page."""


def leakage(records: Sequence[Record], names: Sequence[str]) -> Cells:
    """Signs of leakage after the last iteration, and their difference from RLVR on common seeds."""
    study = study_of(records)
    names = [name for name in names if name in study.objectives]
    rows = []
    for label, key in SIGNS.items():
        values = study.by_seed(final(key))
        base = values.get(BASELINE, {})
        rows.append([label, _shown(base), *(_difference(values[name], base) for name in names)])
    return [["after the last iteration", "`rlvr`", *(f"`{name}` - `rlvr`" for name in names)], *rows]


COURSE = {
    "sampled accuracy": ACCURACY,
    "hollow": "leakage/hollow_rate",
    "answer first": "leakage/answer_first",
    "invalid": "leakage/invalid_rate",
    "answer at once": "leakage/rollout_at_once",
    "gap to the teacher": "leakage/gap",
}


def course(records: Sequence[Record], name: str) -> Cells:
    """A method every ten iterations: mean and half-width over seeds."""
    own = [record for record in records if record.method == name]
    points = sorted({at for record in own for at in record.history[ACCURACY] if at % 10 == 0})
    rows = []
    for at in points:
        cells = []
        for key in COURSE.values():
            values = [r.history[key][at] for r in own if at in r.history.get(key, {})]
            cells.append(plus_minus(*mean_interval(values)) if values else "")
        rows.append([str(at), *cells])
    return [["iteration", *COURSE], *rows]


def passes(records: Sequence[Record]) -> Cells:
    """pass@k of the finished runs, with the difference from RLVR on common seeds at the first and the last k."""
    by: dict[str, dict[int, dict[int, float]]] = {}
    for record in records:
        for figure, value in record.figures.items():
            if figure.startswith("pass_at_"):
                by.setdefault(record.method, {}).setdefault(int(figure[8:]), {})[record.seed] = value
    ks = sorted({k for values in by.values() for k in values})
    if not ks or BASELINE not in by:
        return [["method"]]
    ends = (ks[0], ks[-1])
    rows = []
    for name, values in sorted(by.items(), key=lambda item: -_mean(item[1][ks[0]])):
        means = [_shown(values[k]) for k in ks]
        gains = [_difference(values[k], by[BASELINE][k]) if name != BASELINE else "" for k in ends]
        rows.append([f"`{name}`", *means, *gains])
    return [["method", *(f"pass@{k}" for k in ks), *(f"pass@{k} - RLVR" for k in ends)], *rows]


def confirmed(records: Sequence[Record]) -> Cells:
    """Methods on fresh seeds: paired difference, probability of improvement, IQM."""
    study = study_of(records)
    measures = {"final": study.by_seed(final(ACCURACY)), "area": study.by_seed(study.area(ACCURACY))}
    rows = [
        [
            *(f"`{each.objective}`", what, str(each.n), plus_minus(each.mean, each.half_width), f"{each.iqm:.3f}"),
            *(_shown(values[BASELINE]), shown(each.difference, each.difference_half_width, "+")),
            f"{each.probability:.2f}",
        ]
        for what, values in measures.items()
        for each in compare(values, BASELINE)
        if each.objective != BASELINE
    ]
    return [["method", "figure", "seeds", "mean", "IQM", "RLVR", "difference", "P(better)"], *rows]


def costs(records: Sequence[Record]) -> Cells:
    """What a run of each method takes, beside RLVR's."""
    means: dict[str, list[float]] = {}
    for name in dict.fromkeys(record.method for record in records):
        own = [record.figures for record in records if record.method == name]
        means[name] = [sum(f[cost] for f in own) / len(own) for cost in COSTS]
    base = means.get(BASELINE)
    rows = [
        [
            f"`{name}`",
            *(f"{own:,.0f} ({own / of_base:.2f})" for own, of_base in zip(values, base or values, strict=True)),
        ]
        for name, values in sorted(means.items(), key=lambda item: item[1][-1])
    ]
    return [["method", *(f"{cost} (RLVR: 1)" for cost in COSTS)], *rows]
