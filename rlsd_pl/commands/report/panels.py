"""What a report draws: series of all runs, with the mean and a band of each objective."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsd_pl.commands.plots import COMPARED, SHARES
from rlsd_pl.commands.report.load import Run
from rlsd_pl.commands.report.study import Study, curve, final
from rlsd_pl.comparison import bootstrap_band
from rlsd_pl.persistence.storage import write_text

LABELS = COMPARED | {
    "val/length": "length, held out (tokens)",
    "train/entropy": "entropy (nats)",
    "val/hollow": "hollow answers, held out",
    "val/truncated": "truncated, held out",
    "leakage/phrase_rate": "phrases that refer to unseen material",
    "leakage/length_drift": "change of length since the first evaluation",
    "leakage/teacher_kl": "KL to the teacher (nats per token)",
}

SECTIONS: Mapping[str, Sequence[str]] = {
    "Learning curves": ("val/greedy_accuracy", "val/sampled_accuracy", "rollout/reward"),
    "Length and entropy": ("rollout/length", "val/length", "train/entropy", "val/truncated"),
    "Leakage": (),
}
"""Series by section; to the last one all keys of ``leakage/`` are added."""

PASS = "val/pass_at_"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve; ``seed`` is None for the mean of the finished runs."""

    objective: str
    seed: int | None
    points: Points


@dataclass(frozen=True)
class Band:
    """Bounds (x, low, high) of an objective's mean."""

    objective: str
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        key: of the series, or what stands for several.
        share: its values lie in [0, 1].
        x_label: of the horizontal axis.
        doubling: the horizontal axis is logarithmic, to the base of 2.
    """

    key: str
    title: str
    section: str
    lines: Sequence[Line]
    bands: Sequence[Band]
    share: bool
    x_label: str = "iteration"
    doubling: bool = False

    @property
    def name(self) -> str:
        """For files and for ids in a page."""
        return self.key.replace("/", "-")


def all_panels(study: Study) -> list[Panel]:
    """Every panel for which there is anything to draw."""
    logged = {key for run in study.runs for key in run.history}
    sections = {name: [key for key in keys if key in logged] for name, keys in SECTIONS.items()}
    sections["Leakage"] += sorted(key for key in logged if key.startswith("leakage/"))
    if "leakage/hollow_rate" not in logged:  # without the callback, what the verifier says of the same completions
        sections["Leakage"] += sorted(logged & {"val/hollow"})
    panels = [_panel(study, key, section) for section, keys in sections.items() for key in keys]
    return panels + _pass_at_k(study, logged)


def _panel(study: Study, key: str, section: str) -> Panel:
    runs = {name: [run for run in study.runs if run.objective == name] for name in study.objectives}
    lines = [
        Line(name, run.seed, list(zip(*curve(run.history[key]), strict=True)))
        for name, own in runs.items()
        for run in own
        if key in run.history
    ]
    series = {
        name: {run: dict(zip(*curve(run.history.get(key, {})), strict=True)) for run in own.values()}
        for name, own in study.finished.items()
    }
    share = key.startswith(SHARES) and all(0 <= y <= 1 for line in lines for _, y in line.points)
    return _with_means(Panel(key, LABELS.get(key, key), section, lines, [], share), series)


def _with_means(panel: Panel, series: Mapping[str, Mapping[Run, Mapping[int, float]]]) -> Panel:
    means, bands = [], []
    for name, by_run in series.items():
        curves = [values for values in by_run.values() if values]
        # Only where every run has a value: a mean whose runs change along the curve shows steps that none of them took.
        shared = sorted(set.intersection(*(set(values) for values in curves))) if curves else []
        if not shared:
            continue
        table = [[values[x] for x in shared] for values in curves]
        means.append(
            Line(name, None, [(x, sum(column) / len(column)) for x, *column in zip(shared, *table, strict=True)])
        )
        if len(curves) > 1:
            bands.append(
                Band(name, list(zip(shared, *(bound.tolist() for bound in bootstrap_band(table)), strict=True)))
            )
    return Panel(panel.key, panel.title, panel.section, [*panel.lines, *means], bands, panel.share, panel.x_label,
                 panel.doubling)  # fmt: skip


def _pass_at_k(study: Study, logged: set[str]) -> list[Panel]:
    """pass@k against k after the last iteration, of finished runs."""
    keys = {int(key.removeprefix(PASS)): key for key in logged if key.startswith(PASS)}
    if len(keys) < 2:
        return []
    series = {
        name: {
            run: {k: y for k in sorted(keys) if (y := final(keys[k])(run)) is not None and y == y}
            for run in own.values()
        }
        for name, own in study.finished.items()
    }
    lines = [
        Line(name, run.seed, list(values.items())) for name, runs in series.items() for run, values in runs.items()
    ]
    title = "pass@k after the last iteration"
    return [_with_means(Panel("pass_at_k", title, "pass@k", lines, [], True, "k", doubling=True), series)]


# --- files -----------------------------------------------------------------------------------------------------------


def write_csv(panel: Panel, path: Path) -> None:
    """Every point: objective, seed (``mean``, ``low``, ``high`` for those of an objective), x, value."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("objective", "seed", panel.x_label, panel.key))
    writer.writerows(_rows(panel))
    write_text(path, text.getvalue())


def _rows(panel: Panel) -> Iterator[tuple[object, ...]]:
    for line in panel.lines:
        yield from ((line.objective, "mean" if line.seed is None else line.seed, x, y) for x, y in line.points)
    for band in panel.bands:
        for name, place in (("low", 1), ("high", 2)):
            yield from ((band.objective, name, point[0], point[place]) for point in band.points)
