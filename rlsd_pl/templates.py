"""Jinja2 templates of a user, rendered in a sandbox: a preset may come from someone else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


class TextTemplate:
    """A template that reaches the values it is given and nothing of Python.

    Args:
        source: Jinja2; rendered as it is written, a last newline included.
        setting: what to name in messages, for example ``context.template``.
        show: makes the text of a value that is shown; ``str`` by default.

    Attributes:
        variables: names of the values that it reads.

    Raises:
        ValueError: if the source cannot be parsed.
    """

    def __init__(self, source: str, setting: str, show: Callable[[Any], str] | None = None) -> None:
        self.source, self.setting = source, setting
        try:
            self.variables = frozenset(find_undeclared_variables(_ENVIRONMENT.parse(source)))
            environment = _ENVIRONMENT if show is None else _ENVIRONMENT.overlay(finalize=partial(_shown, show))
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ValueError(f"Got {setting}={source!r}; expected Jinja2: {error}.") from None

    def render(self, values: Mapping[str, object]) -> str:
        """The text.

        Raises:
            ValueError: if a value is missing, or the template tries to reach beyond the values.
        """
        try:
            return self._template.render(values)
        except TemplateError as error:
            raise ValueError(f"Got {self.setting}={self.source!r}, which cannot be rendered: {error}.") from None


def _shown(show: Callable[[Any], str], value: Any) -> Any:
    """An absent value stays what it is, and raises its own error."""
    return value if isinstance(value, StrictUndefined) else show(value)
