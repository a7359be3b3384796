"""Pages that commands write: one HTML file each, which needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
