"""The panels of a report as files: PNG and SVG, for papers and slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlsd_pl.commands.plots import Style, styles
from rlsd_pl.commands.report.panels import Panel, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMNS = 3


def styled(objectives: Sequence[str]) -> dict[str, Style]:
    """How each objective is drawn, in the page and in files."""
    return dict(zip(objectives, styles(len(objectives)), strict=True))


def write_figures(panels: Sequence[Panel], objectives: Sequence[str], folder: Path) -> None:
    """One PNG and SVG per section, and one CSV per panel."""
    import matplotlib as mpl

    drawn = styled(objectives)
    for section in dict.fromkeys(panel.section for panel in panels):
        own = [panel for panel in panels if panel.section == section]
        path = folder / section.lower().replace(" ", "-").replace("@", "-at-")
        figure = draw(own, drawn)
        figure.savefig(path.with_suffix(".png"), dpi=160)
        # Text stays text, and the same figure is the same file.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": section}):
            figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    for panel in panels:
        write_csv(panel, folder / f"{panel.name}.csv")


def draw(panels: Sequence[Panel], drawn: Mapping[str, Style]) -> Figure:
    """Panels side by side, with one legend."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.8 * rows + 0.5), layout="constrained")
    for place, panel in enumerate(panels, start=1):
        _draw(figure.add_subplot(rows, columns, place), panel, drawn)
    present = [name for name in drawn if any(line.objective == name for panel in panels for line in panel.lines)]
    handles = [_handle(drawn[name]) for name in present]
    figure.legend(
        handles,
        present,
        loc="outside lower center",
        ncols=min(len(present), 2 * columns),
        frameon=False,
        fontsize="small",
    )
    return figure


def _handle(style: Style) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.colour, linestyle=style.dashes, linewidth=1.8)


def _draw(axes: Axes, panel: Panel, drawn: Mapping[str, Style]) -> None:
    from matplotlib.ticker import MaxNLocator

    averaged = {line.objective for line in panel.lines if line.seed is None}
    for band in panel.bands:
        style = drawn[band.objective]
        x, low, high = zip(*band.points, strict=True)
        axes.fill_between(x, low, high, color=style.colour, alpha=style.band, linewidth=0)
    for line in panel.lines:
        style = drawn[line.objective]
        behind = line.seed is not None and line.objective in averaged
        x, y = zip(*line.points, strict=True) if line.points else ((), ())
        axes.plot(x, y, color=style.colour, linestyle=style.dashes, linewidth=0.6 if behind else 1.7,
                  alpha=0.35 if behind else 1.0)  # fmt: skip
    axes.set(xlabel=panel.x_label, ylabel=panel.title)
    if panel.doubling:
        axes.set_xscale("log", base=2)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
