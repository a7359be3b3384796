"""Regular expressions of a user on text that a model wrote: no text may cost the trainer more than bounded time."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

import regex

log = logging.getLogger(__name__)

MAX_SECONDS = 1.0
"""CPU time of this process for one text. An ordinary pattern takes milliseconds on the longest completion."""
MIN_SECONDS = 0.05
"""Each search that is ended halves the time of the next ones down to this, so that a batch of bad texts ends too."""

_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)
_UNLIMITED = codes.MAXREPEAT


class TextPattern:
    """A pattern of Python's ``re`` whose search ends.

    Repeats within repeats, which take exponential time on some texts, are refused here; what is merely slow
    (``.*.*.*x``) is ended by the matcher of the library ``regex`` after :data:`MAX_SECONDS`.

    Args:
        pattern: the expression; write flags inline, for example ``(?s)``.
        setting: what to name in messages, for example ``objective.span``.

    Raises:
        ValueError: no regular expression, or one with an unbounded repeat within an unbounded repeat.
    """

    def __init__(self, pattern: str, setting: str) -> None:
        try:
            re.compile(pattern)
            self._compiled = regex.compile(pattern)
        except (re.error, regex.error, OverflowError, RecursionError) as error:
            raise ValueError(f"Got {setting}={pattern!r}; expected a regular expression: {error}.") from None
        if _nested(parser.parse(pattern)):
            raise ValueError(
                f"Got {setting}={pattern!r}, which repeats something that itself repeats without bound; some texts "
                "would take exponential time. Make the inner repeat possessive, '(?:a++)+' for '(?:a+)+', or "
                "drop one of the two."
            )
        self.pattern, self.setting = pattern, setting
        self.groups: int = self._compiled.groups
        self._ended = 0

    def matches(self, text: str) -> list[regex.Match[str]]:
        """All matches in ``text``, in order; none, with one warning for each pattern, if the search takes too long."""
        seconds = max(MAX_SECONDS / 2 ** min(self._ended, 10), MIN_SECONDS)
        try:
            return list(self._compiled.finditer(text, timeout=seconds))
        except TimeoutError:
            if not self._ended:
                log.warning(
                    "%s=%r took over %s s on a text of %d characters, which counts as without a match, as will others. "
                    "Use fewer unbounded repeats, or possessive ones ('.*+').",
                    self.setting, self.pattern, seconds, len(text),
                )  # fmt: skip
            self._ended += 1
            return []


def _nested(items: Any) -> bool:
    """Whether an unbounded repeat stands within another one."""
    return any(
        (_unbounded(code, argument) and any(_repeats(body) for body in _bodies(argument)))
        or any(_nested(body) for body in _bodies(argument))
        for code, argument in items
    )


def _repeats(items: Any) -> bool:
    """Whether an unbounded repeat that can give back what it took stands in ``items``. Possessive ones cannot."""
    return any(
        _unbounded(code, argument)
        or (code is not codes.ATOMIC_GROUP and any(_repeats(body) for body in _bodies(argument)))
        for code, argument in items
    )


def _unbounded(code: Any, argument: Any) -> bool:
    return code in _REPEATS and argument[1] is _UNLIMITED


def _bodies(argument: Any) -> Iterator[Any]:
    """The parsed patterns within one item, wherever the parser places them."""
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from _bodies(part)
