"""Values of a table's row: a column as it is, or text rendered from several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlsd_pl.errors import SetupError
from rlsd_pl.tasks.values import text_of
from rlsd_pl.templates import TextTemplate

Wanted = str | bool | int | float | list[str | bool | int | float]
"""A value that a column may be asked to have, or several."""

FOLDER = "folder"
"""Variable of every template: the folder that the table lies in."""


class Cell:
    """One value per row.

    Args:
        source: a column's name, or a Jinja2 template over all columns, for example ``{{ question }} ({{ unit }})``.

    Raises:
        SetupError: if the template cannot be parsed.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._template: TextTemplate | None = None
        self.columns = frozenset({source})
        if "{{" in source or "{%" in source:
            try:
                self._template = TextTemplate(source, "template", show=text_of)
            except ValueError as error:
                raise SetupError(str(error)) from None
            self.columns = self._template.variables - {FOLDER}

    @property
    def is_column(self) -> bool:
        """Whether it is a column as it stands."""
        return self._template is None

    def value(self, row: Mapping[str, Any], folder: str) -> Any:
        """The column's value, of whatever type, or the rendered text."""
        return row[self.source] if self._template is None else self._template.render({FOLDER: folder, **row})


def cells(sources: Mapping[str, str] | None) -> dict[str, Cell]:
    """One :class:`Cell` for each name."""
    return {name: Cell(source) for name, source in (sources or {}).items()}


def is_blank(value: Any) -> bool:
    """True for nothing, white space, and an empty list or object."""
    return value in ([], {}) or not text_of(value).strip()


def matches(row: Mapping[str, Any], where: Mapping[str, Wanted]) -> bool:
    """True if every named column has the wanted value, or one of a list of them, in writing: ``3`` equals ``"3"``."""
    return all(text_of(row[name]) in _options(wanted) for name, wanted in where.items())


def _options(wanted: Wanted) -> list[str]:
    return [text_of(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
