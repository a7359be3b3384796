"""Pictures of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rlsd_pl.commands.runs import History, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {
    "accuracy on held-out problems": ("val/greedy_accuracy", "val/sampled_accuracy"),
    "reward of rollouts": ("rollout/reward",),
    "completion length (tokens)": ("rollout/length",),
    "entropy (nats)": ("train/entropy",),
    "leakage": ("leakage/hollow_rate", "leakage/phrase_rate"),
    "credit": ("credit/clip_fraction", "credit/departure", "credit/strength"),
}

LEAKAGE_PANELS = {
    "references to unseen material (share)": ("leakage/phrase_rate", "leakage/shifted_phrase_rate"),
    "hollow answers (share)": ("leakage/hollow_rate", "leakage/shifted_hollow_rate"),
    "answer without its reasoning (probability)": (
        *(
            "leakage/rollout_at_once",
            "leakage/answer_at_once",
            "leakage/answer_before",
            "leakage/answer_cut",
            "leakage/answer_swapped",
        ),
    ),
    "overlap with the reference (words)": ("leakage/overlap", "leakage/shifted_overlap"),
    "confidence (probability)": (
        *("leakage/confidence", "leakage/confidence_wrong", "leakage/shifted_confidence_wrong"),
        *("leakage/calibration_error", "leakage/shifted_calibration_error"),
    ),
    "gap between policy and teacher (nats per token)": ("leakage/gap", "leakage/teacher_kl"),
    "format (share)": ("leakage/answer_first", "leakage/several_answers", "leakage/invalid_rate"),
    "drift since the first evaluation": ("leakage/length_drift", "leakage/entropy_drift"),
    "alarms and the scale of distillation": ("leakage/alarms", "leakage/scale"),
    "accuracy": ("val/sampled_accuracy", "leakage/shifted_accuracy"),
}
"""One panel for each measure of docs/leakage.md."""

COMPARED = {
    "val/greedy_accuracy": "greedy accuracy, held out",
    "val/sampled_accuracy": "sampled accuracy, held out",
    "rollout/reward": "reward of rollouts",
    "leakage/hollow_rate": "hollow answers, held out",
    "rollout/length": "completion length (tokens)",
}
"""Series that a comparison shows, and their axes' labels."""

SHARES = ("val/", "leakage/", "rollout/reward")
"""Beginnings of series that lie in [0, 1]."""


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
"""Let curves that coincide both show. Four beside seven colours: 28 pairs before one recurs."""

FEW = len(COLOURS)
"""Most objectives whose intervals are drawn in full strength."""


class Style(NamedTuple):
    """How one objective is drawn; ``band`` is the opacity of its interval."""

    colour: str
    dashes: Literal["-", "--", "-.", ":"]
    band: float


def styles(count: int) -> list[Style]:
    """Styles of ``count`` objectives."""
    band = 0.15 if count <= FEW else 0.05
    return [Style(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], band) for i in range(count)]


def plot_run(folder: Path) -> Path:
    """Learning curves of one run, as ``learning_curve.png`` in its folder."""
    return _draw_panels(read_history(folder), PANELS, folder / "learning_curve.png")


def plot_leakage(folder: Path) -> Path | None:
    """What leakage detection measured in one run, as ``leakage.png`` in its folder; ``None`` where it did not.

    A line stands where the first alarm was raised.
    """
    history = read_history(folder)
    if not any(key.startswith("leakage/") for key in history):
        return None
    raised = [at for at, alarms in sorted(history.get("leakage/alarms", {}).items()) if alarms > 0]
    return _draw_panels(history, LEAKAGE_PANELS, folder / "leakage.png", raised[:1])


def _draw_panels(history: History, wanted: Mapping[str, Sequence[str]], path: Path, marked: Sequence[int] = ()) -> Path:
    """Two panels a row, of the series that the run has, with a line at the marked iterations."""
    from matplotlib.figure import Figure

    panels = {title: [k for k in keys if k in history] for title, keys in wanted.items()}
    panels = {title: keys for title, keys in panels.items() if keys}
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 3 * rows), layout="constrained")
    for position, (title, keys) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, 2, position)
        for key in keys:
            series = sorted(history[key].items())
            axes.plot([x for x, _ in series], [y for _, y in series], marker="." if len(series) < 30 else "", label=key)
        for iteration in marked:
            axes.axvline(iteration, color="#D55E00", linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="iteration")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if title.startswith("accuracy"):
            axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    return path


def plot_comparison(histories: Mapping[str, Sequence[History]], path: Path) -> Path:
    """Learning curves of several objectives: mean and 95 % t-interval over the runs of each.

    Args:
        histories: the runs of each objective, one per seed.
        path: of the PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = [key for key in COMPARED if any(key in history for runs in histories.values() for history in runs)]
    columns = 3
    rows = -(-(len(shown) + 1) // columns)  # one place is the legend's
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows), layout="constrained")
    for position, key in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, position)
        for style, runs in zip(styles(len(histories)), histories.values(), strict=True):
            _draw_band(axes, [history[key] for history in runs if key in history], style)
        axes.set(xlabel="iteration", ylabel=COMPARED[key])
        axes.set_xlim(left=0)
        if key.startswith(SHARES):
            axes.set_ylim(0, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    _draw_legend(
        figure.add_subplot(rows, columns, len(shown) + 1),
        [f"{name} (n = {len(runs)})" for name, runs in histories.items()],
    )
    figure.savefig(path, dpi=200)
    return path


def _draw_band(axes: Axes, series: Sequence[Mapping[int, float]], style: Style) -> None:
    from rlsd_pl.comparison import mean_interval

    # Only where every run has a value: a mean whose runs change along the curve shows steps that none of them took.
    shared = sorted(set.intersection(*(set(values) for values in series))) if series else []
    bands = [mean_interval([values[x] for values in series]) for x in shared]
    axes.plot(shared, [band.mean for band in bands], linewidth=1.7, color=style.colour, linestyle=style.dashes)
    if len(series) > 1:
        lower = [band.mean - band.half_width for band in bands]
        upper = [band.mean + band.half_width for band in bands]
        axes.fill_between(shared, lower, upper, color=style.colour, alpha=style.band, linewidth=0)


def _draw_legend(axes: Axes, labels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        (
            Patch(color=s.colour, alpha=s.band, linewidth=0),
            Line2D([], [], linewidth=1.7, color=s.colour, linestyle=s.dashes),
        )
        for s in styles(len(labels))
    ]
    axes.set_axis_off()
    many = len(labels) > FEW
    legend = axes.legend(
        handles,
        labels,
        loc="center",
        frameon=False,
        handlelength=3.0,
        title="mean and 95 % t-interval\nover seeds",
        ncols=2 if many else 1,
        fontsize="x-small" if many else None,
        columnspacing=1.0,
    )
    legend.set_in_layout(False)
