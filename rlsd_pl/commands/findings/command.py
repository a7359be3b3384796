"""Tables and figures of docs/results.md. With --runs they come from sweeps ROOT/LAB/PART, whose figures are kept in
small CSVs; without it from these CSVs alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rlsd_pl.commands.findings import figures, methods, signs
from rlsd_pl.commands.findings.cells import Cells, of
from rlsd_pl.commands.findings.collect import MAIN, Record, collect, read, write
from rlsd_pl.commands.help import fail
from rlsd_pl.commands.pages import filled, markdown_table

LABS = ("lab", "lab-long")
ALARMS, CONFIRM, GROUPS = "alarms", "confirm", "group_size="
"""Beginnings of the names of sweeps that are told apart from the methods' comparison."""

PICTURED = ("rlvr", "rlsd", "cepo", "gated", "rlrt", "oracle")
"""Methods of the figure with learning curves."""


def main(argv: Sequence[str]) -> None:
    """Fill in the page's marked places."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=Path, help="root of the sweeps; default: the CSVs as they are")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="with places for the tables")
    options = parser.parse_args(list(argv))
    folder = options.page.with_suffix("")
    try:
        if options.runs is not None:
            write(collect(options.runs), folder)
        records = read(folder)
        options.page.write_text(with_tables(options.page.read_text(), records))
    except (ValueError, OSError) as error:
        fail(str(error))
    draw(records, folder)
    print(f"Wrote {options.page} and the figures in {folder}, of {len(records)} runs.")


def with_tables(page: str, records: Sequence[Record]) -> str:
    """The page with every table that it has a place for.

    Raises:
        ValueError: for a place that no table belongs to.
    """
    for place in re.findall(r"<!-- (?!end of )(.+?) -->", page):
        name, _, lab = place.partition(" of ")
        if name not in TABLES:
            raise ValueError(f"Got the place {place!r}; expected one of {', '.join(TABLES)}, with ' of LAB' behind.")
        here = not lab or any(record.lab == lab for record in records)
        table = TABLES[name](records, lab) if here else ""
        page = filled(page, place, table if isinstance(table, str) else markdown_table(*table))
    return page


def _controls(records: Sequence[Record], lab: str) -> Cells:
    reference = of(records, lab, MAIN)
    own = [record for record in _compared(records, lab) if record.part != MAIN or record.method == "rlsd"]
    return methods.controls(own, reference)


def _groups(records: Sequence[Record], lab: str) -> Cells:
    own = _parts(records, lab, GROUPS)
    compared = {record.method.partition(" ")[0] for record in own}
    return methods.groups([*own, *(record for record in of(records, lab, MAIN) if record.method in compared)])


def _all_seeds(records: Sequence[Record], lab: str) -> Cells:
    confirmed = {record.method for record in _parts(records, lab, CONFIRM)}
    own = [*_compared(records, lab), *_parts(records, lab, CONFIRM)]
    return methods.pooled([record for record in own if record.method in confirmed])


def _credit(records: Sequence[Record], lab: str) -> str:
    own = _compared(records, lab)
    return markdown_table(*signs.credit(own)) + "\n\n" + signs.rank_correlation(own)


def _compared(records: Sequence[Record], lab: str) -> list[Record]:
    """Methods, controls and settings on the seeds and iterations of the comparison."""
    return [r for r in records if r.lab == lab and not r.part.startswith((ALARMS, CONFIRM, GROUPS))]


def _parts(records: Sequence[Record], lab: str, beginning: str) -> list[Record]:
    return [record for record in records if record.lab == lab and record.part.startswith(beginning)]


TABLES: dict[str, Callable[[Sequence[Record], str], Cells | str]] = {
    "ceiling": lambda records, lab: methods.ceiling(records, LABS),
    "methods": lambda records, lab: methods.methods(of(records, lab, MAIN)),
    "controls": _controls,
    "group sizes": _groups,
    "credit": _credit,
    "OPSD": lambda records, lab: signs.course(_parts(records, lab, ALARMS), "opsd"),
    "leakage": lambda records, lab: signs.leakage(of(records, lab, MAIN), ("rlsd", "cepo", "gated", "rlrt")),
    "passes": lambda records, lab: methods.passes(of(records, lab, MAIN)),
    "confirmation": lambda records, lab: methods.confirmed(_parts(records, lab, CONFIRM)),
    "all seeds": _all_seeds,
    "costs": lambda records, lab: methods.costs(of(records, lab, MAIN)),
}
"""By what a place in the page says before ' of LAB'."""


def draw(records: Sequence[Record], folder: Path) -> None:
    """The figures, beside the CSVs."""
    labs = [lab for lab in LABS if any(record.lab == lab for record in records)]
    figures.curves({lab: of(records, lab, MAIN) for lab in labs}, PICTURED, folder / "curves.png")
    figures.credit({lab: _compared(records, lab) for lab in labs}, folder / "credit.png")
    with_opsd = {lab: own for lab in labs if (own := _parts(records, lab, ALARMS))}
    if with_opsd:
        figures.course(with_opsd, "opsd", folder / "opsd.png")
