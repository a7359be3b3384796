"""The credit map as a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsd_pl.commands.credit_map.text import clean

COLUMNS = 76
"""Characters per line; longer completions are broken between tokens."""

MOST_TOKENS = 400
"""Tokens of one completion that are shown."""


def plot_credit_map(records: Sequence[Mapping[str, Any]], path: Path) -> Path | None:
    """Completions with each token on a ground of its credit: red lowers its probability, blue raises it.

    Args:
        records: of ``rollouts.jsonl``, with ``token_advantages``; those without are left out.
        path: of the PNG.

    Returns:
        The path; ``None`` where no record has token credit.
    """
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    records = [record for record in records if record.get("token_advantages")]
    largest = max((abs(x) for record in records for x in record["token_advantages"]), default=0.0)
    if largest == 0.0:
        return None
    norm = TwoSlopeNorm(0.0, -largest, largest)
    heights = [1.6 + len(_lines(record)) for record in records]
    figure = Figure(figsize=(9, 0.21 * sum(heights) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, COLUMNS), ylim=(sum(heights), -0.5))
    axes.set_axis_off()
    top = 0.0
    for record, height in zip(records, heights, strict=True):
        _draw(axes, record, top, lambda value: axes_colour(norm(value)))
        top += height
    scale = figure.colorbar(_scale(norm), ax=axes, orientation="horizontal", fraction=0.05, aspect=60, pad=0.01)
    scale.set_label("token advantage: blue raises the token's probability, red lowers it")
    figure.savefig(path, dpi=110)
    return path


def axes_colour(position: float) -> Any:
    """Colour of a credit scaled to [0, 1]: red to white to blue."""
    from matplotlib import colormaps

    return colormaps["RdBu"](0.22 + 0.56 * position)


def _scale(norm: Any) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap

    colours = [axes_colour(i / 20) for i in range(21)]
    return ScalarMappable(norm, LinearSegmentedColormap.from_list("credit", colours))


def _tokens(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    shown = zip(record["tokens"], record["token_advantages"], strict=False)
    return [(clean(token, "\u21b5"), credit) for token, credit in shown][:MOST_TOKENS]


def _lines(record: Mapping[str, Any]) -> list[list[tuple[str, float]]]:
    lines: list[list[tuple[str, float]]] = [[]]
    width = 0
    for token, credit in _tokens(record):
        if width + len(token) > COLUMNS and lines[-1]:
            lines.append([])
            width = 0
        lines[-1].append((token, credit))
        width += len(token)
    return lines


def _draw(axes: Any, record: Mapping[str, Any], top: float, colour: Any) -> None:
    from matplotlib.patches import Rectangle

    head = f"{record['prompt'][:60]}    {record['status']}, reward {record['reward']:g}, A = {record['advantage']:+.2f}"
    axes.text(0, top + 0.5, head.replace("\n", " "), va="center", fontsize=8, color="0.35", parse_math=False)
    for number, line in enumerate(_lines(record), start=1):
        left = 0
        for token, credit in line:
            axes.add_patch(Rectangle((left, top + number), len(token), 0.92, color=colour(credit), linewidth=0))
            for place, character in enumerate(token):
                axes.text(
                    left + place + 0.5, top + number + 0.46, character, ha="center", va="center", family="monospace",
                    fontsize=8, parse_math=False,
                )  # fmt: skip
            left += len(token)
