"""Named presets: ``--objective rlsd`` means ``configs/objective/rlsd.yaml``. Light, for a quick ``--help``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CONFIGS = (Path(__file__).parents[1] / "configs").resolve()

GROUPS = (
    "engine",
    "trainer",
    "logger",
    "model",
    "task",
    "objective",
    "experiment",
    "adapter",
    "teacher",
    "context",
    "verifier",
)
"""Preset groups in the order in which they apply on top of ``default.yaml``, later ones over earlier ones, flags over
all. Those behind ``experiment`` are parts of it that only the command line names, so they are the more specific."""

DEFAULTS = {
    "objective": "rlsd",
    "task": "lab",
    "model": "lab",
    "engine": "transformers",
    "trainer": "auto",
    "logger": "tensorboard",
}

WORDED = ("context", "contrast")
"""Keys whose class a task may put into words of its own: ``configs/task/TASK/CLASS.yaml`` applies right behind the
preset that names the class."""


@dataclass(frozen=True)
class Layer:
    """One file of settings and what to call it to people."""

    name: str
    path: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What the file says."""
        return load(self.path)


@dataclass(frozen=True)
class Composition:
    """Settings of a command before they are parsed: files from the most general to the most specific, then flags."""

    layers: tuple[Layer, ...]
    flags: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """For the parser."""
        return [*(part for layer in self.layers for part in ("--config", str(layer.path))), *self.flags]


@cache
def load(path: Path) -> dict[str, Any]:
    """The content of a YAML file."""
    import yaml

    return yaml.safe_load(path.read_text()) or {}


def available(group: str) -> list[str]:
    """Names of a group's presets."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def description(group: str, name: str) -> str:
    """The comment on a preset's first line."""
    return (CONFIGS / group / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ")


def expand(argv: Sequence[str]) -> list[str]:
    """The arguments of :func:`compose`."""
    return compose(argv).arguments


def compose(argv: Sequence[str]) -> Composition:
    """Replace preset names by the files they stand for, in front of all other arguments.

    ``--GROUP NAME`` and ``--GROUP=NAME`` are presets; a dotted import path or a file is left for the parser;
    ``--model`` also takes a folder or a hub id.

    Raises:
        ValueError: for a name that is none of these; says which exist.
    """
    chosen, rest = _split(argv)
    return _composition(Layer("default.yaml", CONFIGS / "default.yaml"), DEFAULTS | chosen, rest)


def compose_over(config: Path, argv: Sequence[str]) -> Composition:
    """:func:`compose` on top of a run's resolved configuration: only the presets that ``argv`` names apply."""
    return _composition(Layer(str(config), config), *_split(argv))


def compose_resumed(config: Path, argv: Sequence[str]) -> Composition:
    """Flags on top of a resumed run's own configuration. Presets would reset what that run had set; only those of
    trainer and logger may be given, to go on elsewhere.

    Raises:
        ValueError: for another preset.
    """
    named = [group for group in _split(argv)[0] if group not in ("trainer", "logger")]
    if named:
        raise ValueError(
            f"Got --{named[0]} together with --resume; a resumed run keeps what it was started with. Drop it, or "
            f"change single settings, for example --{named[0]}.SETTING VALUE."
        )
    return compose_over(config, argv)


def chosen_presets(argv: Sequence[str]) -> dict[str, str]:
    """The value of every preset group, defaults included."""
    return DEFAULTS | _split(argv)[0]


def _composition(base: Layer, chosen: Mapping[str, str], rest: list[str]) -> Composition:
    layers, flags = [base], list(rest)
    for group in GROUPS:
        name = chosen.get(group)
        if name is None:
            continue
        if name in available(group):
            layer = Layer(f"{group} {name}", CONFIGS / group / f"{name}.yaml")
            layers += [layer, *_words(chosen.get("task", ""), layer.settings)]
        elif group == "model":
            flags = ["--model.name_or_path", name, *flags]
        elif "." in name:
            layers += _words(chosen.get("task", ""), {group: {"class_path": name}})
            flags = [f"--{group}", name, *flags]
        else:
            raise ValueError(_unknown(group, name))
    return Composition(tuple(layers), tuple(flags))


def _words(task: str, settings: Mapping[str, Any]) -> Iterator[Layer]:
    for key in WORDED:
        name = settings.get(key, {}).get("class_path", "").rpartition(".")[2]
        path = CONFIGS / "task" / task / f"{name}.yaml"
        if name and path.exists():
            yield Layer(f"task {task}, {name}", path)


def _split(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    chosen: dict[str, str] = {}
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        group = flag.removeprefix("--")
        if flag.startswith("--") and group in GROUPS:
            value = value if equals else next(arguments, "")
            if not value or value.startswith("--"):
                raise ValueError(f"--{group} got no value; expected one of: {', '.join(available(group))}.")
            chosen[group] = value
        else:
            rest.append(argument)
    return chosen, rest


def _unknown(group: str, name: str) -> str:
    close = difflib.get_close_matches(name, available(group), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"--{group} got {name!r}; expected one of: {', '.join(available(group))}, an import path of a class of your "
        f"own (package.module.Class), or a YAML file.{hint}"
    )
