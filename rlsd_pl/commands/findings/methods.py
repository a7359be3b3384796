"""Tables of docs/results.md that compare methods by their accuracy and cost, from the records of its CSVs alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from rlsd_pl.commands.findings.cells import (
    BASELINE,
    CEILING,
    Cells,
    gain_shown,
    mean,
    mean_shown,
    of,
    study_of,
)
from rlsd_pl.commands.findings.collect import ACCURACY, MAIN, Record
from rlsd_pl.commands.report.study import Study, final
from rlsd_pl.commands.report.tables import plus_minus, ratio_cell, share_cell
from rlsd_pl.commands.sweep.costs import COSTS
from rlsd_pl.commands.sweep.results import shown
from rlsd_pl.comparison import BySeed, compare, iteration_ratio, mean_interval, share_of_ceiling

METHOD_HEADS = (
    *("method", "learning rate", "final", "final - RLVR", "area - RLVR", "times fewer iterations"),
    "share of the ceiling",
)
CEILING_HEADS = ("lab", "RLVR, final", "oracle, final", "oracle there at", "of RLVR's iterations", "times sooner")


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
    names.sort(key=lambda name: -mean(areas[name]))
    rows = []
    for name in names:
        compared = name != base
        rows.append([
            f"`{name}`",
            _figure(records, name, "lr"),
            mean_shown(final_values[name]),
            gain_shown(final_values[name], final_values.get(base, {})) if compared else "",
            gain_shown(areas[name], areas.get(base, {})) if compared else "",
            ratio_cell(iteration_ratio(crossings[name], crossings.get(base, {}))) if compared else "",
            _share(areas, name, study) if name not in (base, study.ceiling) else "",
        ])  # fmt: skip
    return [list(METHOD_HEADS), *rows]


def controls(records: Sequence[Record], reference: Sequence[Record]) -> Cells:
    """:func:`methods` of RLSD and its controls, and how far the area of RLSD lies above each control's."""
    heads, *rows = methods(records, reference)
    study = study_of(records)
    areas = study.by_seed(study.area(ACCURACY))
    told = {f"`{name}`": gain_shown(areas["rlsd"], own) for name, own in areas.items() if name != "rlsd"}
    return [[*heads, "area of rlsd - this"], *([*row, told.get(row[0], "")] for row in rows)]


def groups(records: Sequence[Record]) -> Cells:
    """:func:`methods` of sweeps that differ in the size of their groups, each against the RLVR of its own sweep."""
    rows: Cells = []
    for size, own in groupby(sorted(records, key=_group_size), key=_group_size):
        _, *lines = methods([replace(record, method=record.method.partition(" ")[0]) for record in own])
        rows += [[f"{size:g}", *cells] for *cells, _ in lines]
    return [["group size", *METHOD_HEADS[:-1]], *rows]


def _group_size(record: Record) -> float:
    return record.figures["group size"]


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
        crossings = study.crossings(mean(values[BASELINE]))
        reached = [crossing.iteration for crossing in crossings[CEILING].values() if crossing.reached]
        last = max(crossing.iteration for crossing in crossings[BASELINE].values())
        rows.append([
            f"`{lab}`",
            *(mean_shown(values[name]) for name in (BASELINE, CEILING)),
            f"{plus_minus(*mean_interval(reached))} ({len(reached)} seeds)" if reached else "",
            f"{last:.0f}",
            f"{last * len(reached) / sum(reached):.1f}" if reached else "",
        ])  # fmt: skip
    return [list(CEILING_HEADS), *rows]


def confirmed(records: Sequence[Record]) -> Cells:
    """Methods on fresh seeds: paired difference, probability of improvement, IQM."""
    study = study_of(records)
    measures = {"final": study.by_seed(final(ACCURACY)), "area": study.by_seed(study.area(ACCURACY))}
    rows = [
        [
            *(f"`{each.objective}`", what, str(each.n), plus_minus(each.mean, each.half_width), f"{each.iqm:.3f}"),
            *(mean_shown(values[BASELINE]), shown(each.difference, each.difference_half_width, "+")),
            f"{each.probability:.2f}",
        ]
        for what, values in measures.items()
        for each in compare(values, BASELINE)
        if each.objective != BASELINE
    ]
    return [["method", "figure", "seeds", "mean", "IQM", "RLVR", "difference", "P(better)"], *rows]


def pooled(records: Sequence[Record]) -> Cells:
    """Methods on all the seeds that they ran on, in the area under the curve: against RLVR, and RLSD against each."""
    study = study_of(records)
    areas = study.by_seed(study.area(ACCURACY))
    rows = [
        [
            *(f"`{each.objective}`", str(each.n), shown(each.difference, each.difference_half_width, "+")),
            f"{each.probability:.2f}",
            gain_shown(areas["rlsd"], areas[each.objective]) if each.objective != "rlsd" else "",
        ]
        for each in sorted(compare(areas, BASELINE), key=lambda each: -mean(areas[each.objective]))
        if each.objective != BASELINE
    ]
    return [["method", "seeds", "area - RLVR", "P(better)", "area of rlsd - this"], *rows]


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
    for name, values in sorted(by.items(), key=lambda item: -mean(item[1][ks[0]])):
        means = [mean_shown(values[k]) for k in ks]
        gains = [gain_shown(values[k], by[BASELINE][k]) if name != BASELINE else "" for k in ends]
        rows.append([f"`{name}`", *means, *gains])
    return [["method", *(f"pass@{k}" for k in ks), *(f"pass@{k} - RLVR" for k in ends)], *rows]


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
