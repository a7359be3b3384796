"""Named presets: ``--objective rlsd`` means ``configs/objective/rlsd.yaml``. Light, for a quick ``--help``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

GROUPS = ("experiment", "objective", "task", "teacher", "context", "verifier", "model", "engine", "trainer")
"""Preset groups in the order in which they apply; later ones win, flags win over all."""

DEFAULTS = {"objective": "rlsd", "task": "lab", "model": "lab", "engine": "transformers", "trainer": "auto"}


def available(group: str) -> list[str]:
    """Names of a group's presets."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def description(group: str, name: str) -> str:
    """The comment on a preset's first line."""
    return (CONFIGS / group / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ")


def expand(argv: Sequence[str]) -> list[str]:
    """Replace preset names by the files they stand for, in front of all other arguments.

    ``--GROUP NAME`` and ``--GROUP=NAME`` are presets; a dotted import path or a file is left for the parser;
    ``--model`` also takes a folder or a hub id.

    Raises:
        ValueError: for a name that is none of these; says which exist.
    """
    chosen, rest = _split(argv)
    return _resolve(CONFIGS / "default.yaml", DEFAULTS | chosen, rest)


def expand_over(config: Path, argv: Sequence[str]) -> list[str]:
    """:func:`expand` on top of a resolved configuration: only the presets that ``argv`` names apply."""
    return _resolve(config, *_split(argv))


def _resolve(config: Path, chosen: Mapping[str, str], rest: list[str]) -> list[str]:
    files = [config]
    for group in GROUPS:
        name = chosen.get(group)
        if name is None:
            continue
        if name in available(group):
            files.append(CONFIGS / group / f"{name}.yaml")
            # What a method needs said differently on this task, such as how a sibling's text becomes a hint.
            overlay = CONFIGS / group / name / f"{chosen.get('objective')}.yaml"
            files += [overlay] if overlay.exists() else []
        elif group == "model":
            rest = ["--model.name_or_path", name, *rest]
        elif "." in name:
            rest = [f"--{group}", name, *rest]
        else:
            raise ValueError(_unknown(group, name))
    return [*(part for file in files for part in ("--config", str(file))), *rest]


def expand_resumed(config: Path, argv: Sequence[str]) -> list[str]:
    """Flags on top of a resumed run's own configuration. Presets would reset what that run had set; only the trainer's
    may be given, to go on elsewhere.

    Raises:
        ValueError: for another preset.
    """
    named = [group for group in _split(argv)[0] if group != "trainer"]
    if named:
        raise ValueError(
            f"Got --{named[0]} together with --resume; a resumed run keeps what it was started with. Drop it, or "
            f"change single settings, for example --{named[0]}.SETTING VALUE."
        )
    return expand_over(config, argv)


def chosen_presets(argv: Sequence[str]) -> dict[str, str]:
    """The value of every preset group, defaults included."""
    return DEFAULTS | _split(argv)[0]


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


def print_help(program: str, purpose: str, flags: Sequence[tuple[str, str]]) -> None:
    """A page for people: presets, the flags that matter, where to find the rest."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=min(Console().width, 120))
    console.print(f"[bold]python scripts/{program}[/] \\[options]\n\n{purpose}\n")
    presets = Table("option", "value", "", box=None, title="Presets", title_justify="left", title_style="bold")
    for group in GROUPS:
        for i, name in enumerate(available(group)):
            marker = " [dim](default)[/]" if DEFAULTS.get(group) == name else ""
            presets.add_row(f"--{group}" if i == 0 else "", name + marker, _escape(description(group, name)))
    console.print(presets, "")
    table = Table("option", "", box=None, title="Often used", title_justify="left", title_style="bold")
    for flag, meaning in flags:
        table.add_row(flag, meaning)
    console.print(table)
    console.print(
        "\nEvery option is typed and can stand in a YAML file (--config FILE, later ones win).\n"
        "--help-all lists all of them; --print_config shows the resolved settings."
    )


def fail(message: str) -> None:
    """Print an error for a person and leave with status 2."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {_escape(message)}")
    sys.exit(2)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
