"""Pages that commands write: HTML files that need nothing else, and marked places in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rlsd_pl.persistence.storage import write_text

TEMPLATE = "page.html"


def write_page(
    path: Path, package: str, values: Mapping[str, Any], filters: Mapping[str, Callable[[str], str]] | None = None
) -> None:
    """Render the ``page.html`` of a package; everything in it is escaped, since completions are the model's.

    Args:
        package: import path of the package that holds the template.
        values: by the names that the template uses; a name without one is an error.
        filters: Jinja2 filters by name.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(filters or {})
    source = (files(package) / TEMPLATE).read_text("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, environment.from_string(source).render(**values))


def filled(page: str, name: str, text: str) -> str:
    """The page with ``text`` between the markers of a place.

    Raises:
        ValueError: if the page has no such place.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"The page has no place for {name}: expected the lines {begin} and {end}.")
    return pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page, count=1)


def markdown_table(heads: Sequence[str], *rows: Sequence[str]) -> str:
    """Rows under heads, as Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])
