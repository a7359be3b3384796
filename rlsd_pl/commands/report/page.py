"""The report as one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from rlsd_pl.commands import pages
from rlsd_pl.commands.report import charts
from rlsd_pl.commands.report.charts import Chart, chart
from rlsd_pl.commands.report.commands import Said
from rlsd_pl.commands.report.credit import Trace
from rlsd_pl.commands.report.figures import styled
from rlsd_pl.commands.report.panels import Panel
from rlsd_pl.commands.report.study import Study
from rlsd_pl.commands.report.table import Table

DARK = {"#000000": "#e4e6ea", "#0072B2": "#4ba3e3", "#D55E00": "#f0803c", "#009E73": "#2fc39a"}
"""Colours that are too dark on a dark page, and what stands for them there."""

DASHES = {"-": "none", "--": "7 4", "-.": "7 3 2 3", ":": "2 3"}

BANDS = (
    "Thick: mean over the finished runs, with a 95 % percentile bootstrap band, which is too narrow for few seeds: "
    "claims are in the tables. Thin: single runs. Point at a chart to read its values."
)

TABLES = (
    "± is the half-width of a 95 % t interval over seeds; differences are paired on common seeds, with the t interval "
    "of their mean. IQM (from four runs on) and P(better), the probability that a run is above one of the baseline: "
    "Agarwal et al. 2021, arXiv:2108.13264. Only finished runs count."
)


class Look(NamedTuple):
    """How an objective is drawn."""

    light: str
    dark: str
    dash: str
    band: float


def write_page(
    path: Path,
    title: str,
    study: Study,
    warnings: Sequence[str],
    panels: Sequence[Panel],
    tables: Sequence[Table],
    traces: Sequence[Trace],
    commands: Sequence[Said],
) -> None:
    """Write the page."""
    sections = sectioned(panels)
    contents = [(anchor(name), name) for name in sections] + [("tables", "Tables")]
    contents += [("credit", "Credit")] * bool(traces) + [("commands", "Commands")]
    values = {
        "title": title,
        "summary": summary(study),
        "warnings": warnings,
        "contents": contents,
        "objectives": study.objectives,
        "seeds": study.seeds,
        "kinds": {name: place for place, name in enumerate(study.objectives)},
        "looks": looks(study.objectives),
        "sections": list(sections.items()),
        "size": charts,
        "band_note": BANDS,
        "tables": tables,
        "table_note": TABLES,
        "traces": traces,
        "commands": commands,
        "script": Markup((files("rlsd_pl.commands.report") / "page.js").read_text("utf-8")),
    }
    pages.write_page(path, "rlsd_pl.commands.report", values, {"anchor": anchor})


def sectioned(panels: Sequence[Panel]) -> Mapping[str, Sequence[Chart]]:
    """Charts by section, those without a point left out."""
    found: dict[str, list[Chart]] = {}
    for panel in panels:
        if (drawn := chart(panel)) is not None:
            found.setdefault(panel.section, []).append(drawn)
    return found


def looks(objectives: Sequence[str]) -> list[Look]:
    """Colours and dashes of the page, those of the figures."""
    return [
        Look(style.colour, DARK.get(style.colour, style.colour), DASHES[style.dashes], style.band)
        for style in styled(objectives).values()
    ]


def anchor(text: str) -> str:
    """An id for a heading."""
    return text.lower().replace(" ", "-").replace("@", "-at-")


def summary(study: Study) -> str:
    """What is on the page, in a line."""
    finished = sum(map(len, study.finished.values()))
    compared = f", compared with {study.baseline}" if study.baseline else ""
    ceiling = f"; the ceiling is {study.ceiling}" if study.ceiling else ""
    return (
        f"{len(study.runs)} runs, {finished} of them finished: {', '.join(study.objectives)}, on seeds "
        f"{', '.join(map(str, study.seeds))}{compared}{ceiling}."
    )
