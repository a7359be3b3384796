"""What a run resolved to, and which preset or flag each part of it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape

from rlsd_pl.commands.presets import Composition, load

MISSING = object()

UNSET = "default"
"""Source of what no file and no flag sets."""

CLASSES = ("objective", "teacher", "context", "contrast", "verifier", "task")
"""Parts that are shown by class."""

ORDER = (
    *("objective", "strength", "teacher", "context", "template", "contrast", "verifier", "task"),
    *("model", "lr", "weight_decay", "rollout", "iterations"),
)

ADAPTER_HINT = (
    "Adapters hardly move at the learning rate of full training. --adapter lora sets one of their own; "
    "or set --optimizer.lr, for example to 2e-5."
)


class Line(NamedTuple):
    """One resolved part.

    Attributes:
        name: of the part.
        value: in a few words.
        source: the preset, file or flag that set it last; ``default`` for what the class itself says.
    """

    name: str
    value: str
    source: str


def resolved_lines(config: Namespace, composition: Composition, model: object = None) -> list[Line]:
    """The parts that make one run different from another.

    Args:
        config: as parsed.
        composition: the files and flags that it was parsed from.
        model: the module that was built, for a schedule and a template that their classes set.
    """
    lines = {name: part_line(name, config[name], composition) for name in CLASSES if config.get(name)}
    if (strength := _reach(model, "objective", "strength")) is not None:
        lines["strength"] = Line("strength", shortened(repr(strength), 80), source(composition, "objective.strength"))
    template = config.get("context.init_args.template") or _reach(model, "context", "template", "source")
    if template is not None:
        lines["template"] = Line("template", shortened(template), source(composition, "context.template"))
    adapted = f", LoRA rank {config['model.lora.r']}" if config["model.lora.r"] else ""
    lines["model"] = Line("model", config["model.name_or_path"] + adapted, source(composition, "model.name_or_path"))
    for name, label in (("lr", "learning rate"), ("weight_decay", "weight decay")):
        value = config["optimizer"].init_args.get(name)
        lines[name] = Line(label, str(value), source(composition, f"optimizer.{name}"))
    size = f"{config['data.prompts_per_rollout']} prompts x {config['data.group_size']}"
    lines["rollout"] = Line("rollout", size, sources(composition, "data.prompts_per_rollout", "data.group_size"))
    iterations = "trainer.max_epochs"
    lines["iterations"] = Line("iterations", str(config[iterations]), source(composition, iterations))
    return [lines[name] for name in ORDER if name in lines]


def _reach(value: object, *names: str) -> Any:
    for name in names:
        value = getattr(value, name, None)
    return value


def part_line(name: str, spec: Namespace, composition: Composition) -> Line:
    """Class of a part with those of its arguments that a preset or a flag sets."""
    arguments = {
        key: value
        for key, value in (spec.get("init_args") or {}).items()
        if isinstance(value, int | float | str) and key != "template" and source(composition, f"{name}.{key}") != UNSET
    }
    shown = shortened(", ".join(f"{key} {value}" for key, value in arguments.items()))
    called = spec["class_path"].rpartition(".")[2]
    found = sources(composition, name, *(f"{name}.{key}" for key in arguments))
    return Line(name, f"{called} ({shown})" if shown else called, found)


def sources(composition: Composition, *keys: str) -> str:
    """Where several settings come from, each source once."""
    return ", ".join(dict.fromkeys(source(composition, key) for key in keys))


def source(composition: Composition, key: str) -> str:
    """The flag or layer that sets ``key`` last; ``key`` is dotted and leaves ``init_args`` out, as flags do."""
    for flag, value in reversed(list(flags(composition.flags))):
        if flag in (key, f"{key}.class_path"):
            return f"--{flag}"
        if flag == "config" and is_set(load(Path(value)) if Path(value).exists() else {}, key):
            return value
    layers = (layer.name for layer in reversed(composition.layers) if is_set(layer.settings, key))
    return next(layers, UNSET)


def flags(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Name, without ``init_args``, and value of every ``--name value`` or ``--name=value``."""
    found = []
    for place, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            after = arguments[place + 1] if place + 1 < len(arguments) else ""
            found.append((name.replace(".init_args", ""), value if equals else after))
    return found


def is_set(settings: Mapping[str, Any], key: str) -> bool:
    """True if a file's settings say something of the dotted ``key``."""
    value: Any = settings
    for name in key.split("."):
        value = value.get("init_args", value) if isinstance(value, Mapping) and name not in value else value
        value = value.get(name, MISSING) if isinstance(value, Mapping) else MISSING
    return value is not MISSING


def shortened(text: str, width: int = 60) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def show_resolved(config: Namespace, composition: Composition, model: object = None) -> None:
    """Print the lines, and a hint where adapters would train at the learning rate of full training."""
    lines = resolved_lines(config, composition, model)
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    console = Console(highlight=False, soft_wrap=True)
    for name, value, origin in lines:
        padded = escape(f"{value:{widths[1]}}")
        console.print(f"[bold]{name:{widths[0]}}[/]  {padded}  [dim]{escape(origin)}[/]")
    if config["model.lora.r"] and source(composition, "optimizer.lr") == "default.yaml":
        console.print(ADAPTER_HINT)
