"""The report in the terminal and as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlsd_pl.commands import pages
from rlsd_pl.commands.preflight.charts import HEIGHT, WIDTH
from rlsd_pl.commands.preflight.panels import Panel
from rlsd_pl.commands.resolved import Line


def show(console: Console, verdict: str, learns: bool, panels: Sequence[Panel]) -> None:
    """Print all panels, and the verdict at the end, where the eye is."""
    for panel in panels:
        table = Table(title=panel.title, title_justify="left", title_style="bold", box=None)
        for head in panel.head:
            table.add_column(head, overflow="fold")
        for row in panel.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print("", table)
        if panel.note:
            console.print(Text(panel.note, style="dim"))
    console.print("", Text(verdict, style="bold green" if learns else "bold red"))


def write_page(
    path: Path, verdict: str, learns: bool, panels: Sequence[Panel], command: str, resolved: Sequence[Line]
) -> None:
    """Write the page."""
    values = {
        "verdict": verdict,
        "learns": learns,
        "panels": panels,
        "command": command,
        "resolved": resolved,
        "width": WIDTH,
        "height": HEIGHT,
    }
    pages.write_page(path, "rlsd_pl.commands.preflight", values)
