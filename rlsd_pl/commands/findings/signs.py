"""Tables of docs/results.md about where credit lies and what leaks, from the records of its CSVs alone."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from rlsd_pl.commands.findings.cells import (
    BASELINE,
    Cells,
    gain_shown,
    gains,
    mean,
    mean_of,
    mean_shown,
    study_of,
)
from rlsd_pl.commands.findings.collect import ACCURACY, Record
from rlsd_pl.commands.report.study import final
from rlsd_pl.commands.report.tables import plus_minus
from rlsd_pl.commands.sweep.results import shown
from rlsd_pl.comparison import mean_interval


def credit(records: Sequence[Record]) -> Cells:
    """AUROC and precision of credit for decisive tokens, beside what a method gains."""
    study = study_of(records)
    gained = gains(study)
    auroc, precision = (study.by_seed(mean_of(key)) for key in ("credit/auroc", "credit/precision_at_k"))
    told = [name for name in gained if auroc[name]]
    told.sort(key=lambda name: -mean(auroc[name]))
    rows = [
        [
            f"`{name}`",
            mean_shown(auroc[name]),
            mean_shown(precision[name]),
            shown(gained[name].mean, gained[name].half_width, "+"),
        ]
        for name in told
    ]
    return [["method", "AUROC", "precision at k", "area - RLVR"], *rows]


def rank_correlation(records: Sequence[Record]) -> str:
    """Spearman's correlation over methods, the ceiling aside, between mean AUROC and mean gain in area."""
    study = study_of(records)
    auroc, gained = study.by_seed(mean_of("credit/auroc")), gains(study)
    told = [name for name in gained if auroc[name] and name != study.ceiling]
    if len(told) < 3:
        return ""
    correlation, p = stats.spearmanr([mean(auroc[name]) for name in told], [gained[name].mean for name in told])
    return f"Spearman's rank correlation over {len(told)} methods: {correlation:.2f} (p = {p:.2g})."


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
        rows.append([label, mean_shown(base), *(gain_shown(values[name], base) for name in names)])
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
