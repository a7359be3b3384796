"""Values of a table's row: a column as it is, or text rendered from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import SandboxedEnvironment

from rlsd_pl.errors import SetupError
from rlsd_pl.tasks.values import text_of

FOLDER = "folder"
"""Variable of every template: the folder that the table lies in."""

# A preset may come from someone else: its templates reach the row and nothing of Python.
_ENVIRONMENT = SandboxedEnvironment(
    undefined=StrictUndefined,
    autoescape=False,
    keep_trailing_newline=True,
    finalize=lambda value: value if isinstance(value, StrictUndefined) else text_of(value),
)


class Cell:
    """One value per row.

    Args:
        source: a column's name, or a Jinja2 template over all columns, for example ``{{ question }} ({{ unit }})``.

    Raises:
        SetupError: if the template cannot be parsed.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._template = None
        self.columns = {source}
        if "{{" in source or "{%" in source:
            try:
                self.columns = find_undeclared_variables(_ENVIRONMENT.parse(source)) - {FOLDER}
            except TemplateSyntaxError as error:
                raise SetupError(f"Got the template {source!r}; expected Jinja2: {error}.") from None
            self._template = _ENVIRONMENT.from_string(source)

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


def matches(row: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """True if every named column has the wanted value, or one of a list of them; ``7`` and ``"7"`` are the same."""
    return all(
        any(
            row[name] == each or text_of(row[name]) == text_of(each)
            for each in (wanted if _is_list(wanted) else [wanted])
        )
        for name, wanted in where.items()
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
