"""Formats that read ASCII where their grammar does, and that say when they cannot decide."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jsonschema import FormatChecker

from rlsd_pl.verifiers.documents.patterns import PatternError, UnsupportedPatternError, python_pattern

_UNICODE = frozenset({"idn-email", "idn-hostname", "iri", "iri-reference", "uri-template", "regex"})
"""Formats whose grammar has characters beyond ASCII; the library's checks take digits of any script elsewhere."""
_UCSCHAR = re.compile("[\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\U00010000-\U000efffd]")
"""RFC 3987's characters beyond those of a URI; section 3.1 maps each to percent signs, which a URI may hold there."""
_AS_URI = {"iri": "uri", "iri-reference": "uri-reference"}
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TIME = r"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_GRAMMARS = {
    "duration": rf"P(?:\d+W|(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)(?:{_TIME})?|{_TIME})",
    "email": rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*")@(?:{_LABEL}(?:\.{_LABEL})*|\[[\w:.]+\])',
    "json-pointer": r"(?:/(?:[^/~]|~[01])*)*",
    "relative-json-pointer": r"(?:0|[1-9]\d*)(?:#|(?:/(?:[^/~]|~[01])*)*)",
    "uuid": r"[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}",
}
"""RFC 3339 appendix A, RFC 5321 4.1.2, RFC 6901, draft-handrews-relative-json-pointer-01, RFC 9562 4."""
_BY_GRAMMAR = {name: re.compile(grammar, re.ASCII | re.DOTALL) for name, grammar in _GRAMMARS.items()}


class UndecidedFormatError(Exception):
    """Whether the string has the format could not be found out within what a check may use."""


def strict_formats(checker: FormatChecker) -> FormatChecker:
    """The formats of ``checker``; a check raises :class:`UndecidedFormatError` or nothing."""
    strict = FormatChecker(formats=())
    checks: dict[str, Callable[[Any], Any]] = {name: check for name, (check, _) in checker.checkers.items()}
    for name, check in checks.items():
        if name in _AS_URI:
            check = _as_uri(checks[_AS_URI[name]])
        strict.checks(name)(_strict(name, check))
    return strict


def _as_uri(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda instance: check(_UCSCHAR.sub("%41", instance))


def _strict(name: str, check: Callable[[object], Any]) -> Callable[[object], bool]:
    grammar = _BY_GRAMMAR.get(name)
    reads_unicode = name in _UNICODE

    def conforms(instance: object) -> bool:
        if not isinstance(instance, str):
            return True
        if grammar is not None:
            return grammar.fullmatch(instance) is not None
        if not reads_unicode and not instance.isascii():
            return False
        try:
            return _is_pattern(instance) if name == "regex" else not _BLANK.search(instance) and bool(check(instance))
        except (OverflowError, RecursionError, MemoryError, UnsupportedPatternError) as error:
            raise UndecidedFormatError(f"format {name}: {error}") from None
        except Exception:  # the libraries under jsonschema raise more kinds than it declares
            return False

    return conforms


def _is_pattern(text: str) -> bool:
    try:
        python_pattern(text)
    except UnsupportedPatternError:
        raise
    except PatternError:
        return False
    return True
