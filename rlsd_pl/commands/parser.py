"""The parser of every command: what is typed is what arrives, and mistakes come with their reason."""

from __future__ import annotations

import argparse
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Union, get_args, get_origin

import yaml
from jsonargparse import set_dumper, set_loader
from jsonargparse._typehints import ActionTypeHint, NestedArg
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from rlsd_pl.commands.help import fail
from rlsd_pl.commands.reasons import readable, suggestion
from rlsd_pl.errors import UserCodeError, in_user_code

TAG = "tag:yaml.org,2002"


class Setting(ActionTypeHint):
    """A setting that takes text as it stands.

    jsonargparse reads every string as YAML before it looks at the type, on the command line and again for each value of
    a file: ``#### (.+)`` becomes a comment, ``1e5`` a number, ``[0-9]`` a list. Here the type decides first: a ``str``
    or ``str | None`` is never read as anything else, and what a file says has been read once.
    """

    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: str | None = None) -> Any:
        if isinstance(value, Verbatim):
            value = str(value)
        kind = self._typehint
        if isinstance(value, str) and is_text(kind):
            return super()._check_type(Verbatim(value)) if Path in alternatives(kind) else value
        if isinstance(value, Mapping) and entries(kind) is Any:
            return value
        if isinstance(value, NestedArg) and isinstance(value.val, str):
            if (entry := entries(kind)) is None:
                value = NestedArg(value.key, unread(value.val))
            elif entry is Any or str in alternatives(entry):
                before = cfg.get(self.dest) if cfg else None
                return {**(before or {}), value.key: read_entry(value.val, entry)}
        return super()._check_type(value, append=append, cfg=cfg, mode=mode)

    def instantiate_classes(self, value: Any) -> Any:
        return value if entries(self._typehint) is Any else super().instantiate_classes(value)

    def serialize(self, value: Any, dump_kwargs: Any = None) -> Any:
        return value if entries(self._typehint) is Any else super().serialize(value, dump_kwargs)


class Verbatim(str):
    """Text on its way to the setting of a nested class, whose type decides how it is read."""

    __slots__ = ()


def unread(text: str) -> str:
    """Keep jsonargparse from reading ``text`` as YAML where that would make something else of it."""
    return text if isinstance(read(text), str) else Verbatim(text)


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(_SafeLoader):
    """YAML 1.1, in which ``1e-6`` is a number, as in YAML 1.2 and Python, and a date is text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in (f"{TAG}:float", f"{TAG}:timestamp")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver(
    f"{TAG}:float",
    re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def load(text: str) -> Any:
    """The content of a YAML text."""
    return yaml.load(text, Loader)


def read(text: str) -> Any:
    """One value of YAML; text that is no YAML is text."""
    try:
        return load(text)
    except (yaml.YAMLError, ValueError):
        return text


class Dumper(yaml.SafeDumper):
    """Quotes each string that the loader would read as something else; PyYAML writes ``1e5`` without quotes."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar(f"{TAG}:str", text, style=None if read(text) == text else '"')


Dumper.add_representer(str, Dumper.represent_text)
for path_like in (str, os.PathLike):  # jsonargparse has a type of its own for paths
    Dumper.add_multi_representer(path_like, lambda dumper, path: dumper.represent_text(str(path)))


def dump(settings: Any) -> str:
    """YAML from which every string comes back as it is."""
    return yaml.dump(settings, Dumper=Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


MODE = "rlsd_pl"
"""Of jsonargparse: YAML in, :func:`dump` out."""

set_loader(MODE, load, exceptions=(yaml.YAMLError, ValueError))
set_dumper(MODE, dump)


def read_entry(text: str, kind: Any) -> Any:
    """A value typed for one key of a mapping: text where it may hold text, or a list of texts in brackets."""
    if kind is Any:
        return read(text)
    if is_text(kind) or not text.startswith("["):
        return text
    try:
        return yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        return text


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union; a type that is none stands alone."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def is_text(kind: Any) -> bool:
    """True for ``str``, ``Path``, either of them, and each of these or ``None``."""
    members = set(alternatives(kind)) - {type(None)}
    return bool(members) and members <= {str, Path}


def entries(kind: Any) -> Any:
    """The type of a mapping's values, also of one that may be ``None``; ``None`` for what is no mapping."""
    for member in alternatives(kind):
        origin = get_origin(member)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(member)[1]
    return None


class Parser(LightningArgumentParser):
    """Every argument is a :class:`Setting`; errors in one line instead of a page of usage."""

    # jsonargparse gives the groups of a parser the same method.
    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        action = super().add_argument(*args, **kwargs)
        if type(action) is ActionTypeHint:
            action.__class__ = Setting
        return action

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Any:
        """Values may begin with a dash."""
        return super().parse_args(args if args is None else joined(args), *rest, **kwargs)

    def _get_values(self, action: Any, arg_strings: list[str]) -> Any:
        # argparse drops a value that is two dashes.
        return "--" if arg_strings == ["--"] and action.nargs is None else super()._get_values(action, arg_strings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Leave with status 2; the parser of a nested class raises instead, for another type of a union may do."""
        if not self.exit_on_error:
            raise argparse.ArgumentError(None, message) from ex
        if ex is not None and (account := in_user_code(ex)) is not None:
            give_up(account)
        known = suggestion(message, self._option_string_actions)
        fail(f"{readable(message)}{known}\nSee --help for the options that matter, --help-all for every one.")


def joined(arguments: Sequence[str]) -> list[str]:
    """``--flag -value`` as ``--flag=-value``, which argparse would take for a flag without a value."""
    result: list[str] = []
    for argument in arguments:
        value = argument.startswith("-") and not argument.startswith("--") and argument != "-h"
        if value and result and result[-1].startswith("--") and "=" not in result[-1]:
            result[-1] += f"={argument}"
        else:
            result.append(argument)
    return result


DEBUG_VARIABLE = "RLSD_PL_DEBUG"
"""Set to 1, errors come with their traceback instead of alone."""

PLAIN = (ValueError, OSError, ImportError, UserCodeError, MisconfigurationException)
"""Errors whose text says all; the type of others is part of what happened."""


def give_up(error: Exception, then: str = "") -> NoReturn:
    """Leave with status 2 and the reason in a line or two.

    Args:
        then: what to do when it is corrected, on a line of its own.
    """
    if os.environ.get(DEBUG_VARIABLE) == "1":
        raise error
    error = in_user_code(error) or error
    reason, then = readable(str(error)), then and f"\n{then}"
    if reason and isinstance(error, PLAIN):
        fail(f"{reason}{then}")
    fail(f"{type(error).__name__}: {reason or '(no message)'}\n{DEBUG_VARIABLE}=1 shows where it comes from.{then}")


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Leave as :func:`give_up` does, whatever is raised while parts are made; a user's own may call ``sys.exit``."""
    try:
        yield
    except SystemExit as error:
        account = in_user_code(error)
        if account is None:
            raise
        give_up(account)
    except Exception as error:
        give_up(error)
