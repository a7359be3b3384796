"""The figures of docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlsd_pl.commands.findings.cells import gains, mean_of, study_of
from rlsd_pl.commands.findings.collect import ACCURACY, Record
from rlsd_pl.commands.findings.signs import COURSE
from rlsd_pl.commands.plots import Style, styles
from rlsd_pl.comparison import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^v<>P*X"

MARGIN = 0.04
"""Beyond the means of the figure with credit, in its own unit."""


def curves(panels: Mapping[str, Sequence[Record]], names: Sequence[str], path: Path) -> None:
    """Sampled accuracy of some methods, a panel per lab: mean over seeds and its 95 % t interval."""
    from matplotlib.figure import Figure

    drawn = dict(zip(names, styles(len(names)), strict=True))
    figure = Figure(figsize=(5.2 * len(panels), 3.9), layout="constrained")
    for place, (title, records) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, style in drawn.items():
            _band(axes, [r for r in records if r.method == name], ACCURACY, style, name)
        _plain(axes, title, "iteration", "sampled accuracy, held out")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 6), frameon=False)
    figure.savefig(path, dpi=130)


def course(panels: Mapping[str, Sequence[Record]], name: str, path: Path) -> None:
    """Each seed of one method: accuracy and signs of leakage over its iterations, a row per lab."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(COURSE) / 2, 4.6 * len(panels)), layout="constrained")
    for row, (lab, records) in enumerate(panels.items()):
        own = [record for record in records if record.method == name]
        for column, (label, key) in enumerate(COURSE.items()):
            place = row * len(COURSE) + column + 1
            axes = figure.add_subplot(2 * len(panels), len(COURSE) // 2, place)
            for record, style in zip(own, styles(len(own)), strict=True):
                points = sorted(record.history.get(key, {}).items())
                axes.plot([x for x, _ in points], [y for _, y in points], color=style.colour, linewidth=1.3,
                          label=f"seed {record.seed}")  # fmt: skip
            _plain(axes, f"{lab}: {label}", "iteration", "")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=130)


def credit(panels: Mapping[str, Sequence[Record]], path: Path) -> None:
    """Gain in area over RLVR against where credit lies, by method, a panel per lab; wide intervals are cut off."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 4.6), layout="constrained")
    names = sorted({record.method for records in panels.values() for record in records})
    drawn = dict(zip(names, styles(len(names)), strict=True))
    handles = {}
    for place, (lab, records) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        study = study_of(records)
        auroc = study.by_seed(mean_of("credit/auroc"))
        gained = {name: gain for name, gain in gains(study).items() if auroc[name]}
        for name, gain in gained.items():
            x = float(np.mean(list(auroc[name].values())))
            marker = MARKERS[names.index(name) % len(MARKERS)]
            handles[name] = axes.errorbar(
                x, gain.mean, gain.half_width, fmt=marker, color=drawn[name].colour, capsize=2, elinewidth=1
            )
        axes.axhline(0, color="black", linewidth=0.8)
        means = [gain.mean for gain in gained.values()]
        if means:
            axes.set_ylim(min(means) - MARGIN, max(means) + MARGIN)
        _plain(axes, lab, "AUROC of credit for the tokens that decide", "area under the curve - RLVR")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def _band(axes: Axes, records: Sequence[Record], key: str, style: Style, label: str) -> None:
    points = sorted({at for record in records for at in record.history.get(key, {})})
    points = [at for at in points if all(at in record.history.get(key, {}) for record in records)]
    if not points:
        return
    found = [mean_interval([record.history[key][at] for record in records]) for at in points]
    mean, half = np.array([f.mean for f in found]), np.nan_to_num(np.array([f.half_width for f in found]))
    axes.plot(points, mean, color=style.colour, linestyle=style.dashes, linewidth=1.6, label=label)
    axes.fill_between(points, mean - half, mean + half, color=style.colour, alpha=style.band, linewidth=0)


def _plain(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
