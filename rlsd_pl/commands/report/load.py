"""Runs as a report sees them: found below folders, with the name under which their seeds are put together."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rlsd_pl.commands.presets import CONFIGS, available, load
from rlsd_pl.commands.runs import CONFIG_FILE, History, is_finished, newest_run, read_history
from rlsd_pl.commands.sweep.grid import RECORD, REPORTED, RUNS

SEED_FOLDER = re.compile(r"seed-(\d+)")

SEED = "seed_everything"

APART = (SEED, "logger", "export", "num_threads", "trainer", "data.micro_batch_size", "data.micro_batch_tokens",
         "data.verify_timeout_seconds")  # fmt: skip
"""Beginnings of settings that do not make another objective of a run: what is logged, and how the work is cut up."""

Settings = Mapping[str, Any]
"""A configuration by dotted keys, as flags name them."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder.

    Attributes:
        objective: the name that runs of the same settings on other seeds share.
        settings: the resolved configuration.
        planned: iterations, ``None`` without a limit.
        data: fingerprint of each split; ``None`` where none was recorded.
    """

    folder: Path
    objective: str
    seed: int
    settings: Settings
    history: History
    planned: int | None
    finished: bool
    data: Mapping[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> Run:
        """From its folder."""
        import yaml

        settings = flattened(yaml.safe_load((folder / CONFIG_FILE).read_text()))
        planned = settings.get("trainer.max_epochs") or 0
        data = folder / "data.json"
        return cls(
            folder=folder,
            objective=sweep_name(folder) or preset_name(settings),
            seed=_seed(settings, folder),
            settings=settings,
            history=read_history(folder),
            planned=planned if planned > 0 else None,
            finished=is_finished(folder),
            data=json.loads(data.read_text()) if data.exists() else None,
        )

    @cached_property
    def iteration(self) -> int:
        """The last one that has logged anything."""
        return max((iteration for series in self.history.values() for iteration in series), default=0)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it another objective than others."""
        return {key: value for key, value in self.settings.items() if not _begins(key, APART)}

    def __str__(self) -> str:
        return f"{self.objective}, seed {self.seed}"


def _seed(settings: Settings, folder: Path) -> int:
    named = SEED_FOLDER.fullmatch(folder.name)
    seed = settings.get(SEED)
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else int(named.group(1)) if named else 0


def _begins(key: str, beginnings: Iterable[str]) -> bool:
    return any(key == beginning or key.startswith(f"{beginning}.") for beginning in beginnings)


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by the names that flags have: ``class_path`` and ``init_args`` are no part of them."""
    if not isinstance(config, dict) or not config:
        return {prefix: config}
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key == "init_args" and not value:
            continue
        part = "" if key in ("class_path", "init_args") else key
        found |= flattened(value, ".".join(filter(None, (prefix, part))))
    return found


def sweep_of(folder: Path) -> Path | None:
    """The folder of the sweep that a run is part of."""
    return next((parent for parent in folder.absolute().parents if (parent / RECORD).exists()), None)


def _use(folder: Path) -> str | None:
    """What a sweep ran a run for, by its table of runs; ``None`` where there is none."""
    sweep = sweep_of(folder)
    path = None if sweep is None else sweep / RUNS
    if sweep is None or path is None or not path.exists():
        return None
    with path.open(newline="") as file:
        uses = {row["folder"]: row["use"] for row in csv.DictReader(file)}
    return uses.get(folder.absolute().relative_to(sweep).as_posix())


def sweep_name(folder: Path) -> str | None:
    """The place of ``.../NAME/seed-N`` below its sweep, ``None`` for a folder that is no run of a sweep."""
    if not SEED_FOLDER.fullmatch(folder.name):
        return None
    above, sweep = folder.absolute().parent, sweep_of(folder)
    if sweep is not None and _use(folder) == REPORTED:  # an objective at its own best setting goes by its name alone
        return above.relative_to(sweep).parts[0]
    return above.name if sweep in (None, above) else " ".join(above.relative_to(sweep).parts)


def preset_name(settings: Settings) -> str:
    """The most specific preset that a run's settings contain, else the name of its objective's class."""
    fitting = [
        (len(wanted), name)
        for name, wanted in _presets().items()
        if wanted["objective"] == settings.get("objective") and all(settings.get(k) == v for k, v in wanted.items())
    ]
    return max(fitting)[1] if fitting else str(settings.get("objective")).rpartition(".")[2].lower()


@cache
def _presets() -> dict[str, dict[str, Any]]:
    return {name: flattened(load(CONFIGS / "objective" / f"{name}.yaml")) for name in available("objective")}


# --- finding ---------------------------------------------------------------------------------------------------------


def find(places: Sequence[str]) -> list[Run]:
    """All runs in and below these folders; ``last`` is the newest run.

    Raises:
        ValueError: if a folder is absent or holds no run.
    """
    folders: dict[Path, None] = {}
    for place in places:
        folder = _newest() if place == "last" else Path(place)
        if not folder.is_dir():
            raise ValueError(
                f"Got {place}, which is no folder. Expected run folders, or folders that hold some, such as a sweep's."
            )
        # Runs that settings were chosen on are left out, unless they are asked for by themselves.
        found = sorted(run for run in _below(folder) if run == folder or _use(run) in (None, REPORTED))
        if not found:
            raise ValueError(
                f"{folder} holds no run. Expected a folder that a run has written ({CONFIG_FILE} is in it), or one "
                "with such folders below it, such as a sweep's. A run writes it before its first iteration."
            )
        folders |= dict.fromkeys(found)
    return named_apart([Run.read(folder) for folder in folders])


def _newest() -> Path:
    try:
        return newest_run()
    except ValueError as error:
        raise ValueError(str(error).replace("--resume last", "'last'")) from None


def _below(folder: Path) -> Iterable[Path]:
    for here, below, files in os.walk(folder):
        if CONFIG_FILE in files and {"csv", "checkpoints", "rollouts.jsonl", "data.json"} & {*below, *files}:
            below.clear()  # a run holds no run
            yield Path(here).absolute()


FEW = 2
"""Most settings that are told in a name; more of them and the names are numbered."""


def named_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs of one name whose settings differ get those settings into their names, or a number if they are many."""
    apart: list[Run] = []
    for name in dict.fromkeys(run.objective for run in runs):
        alike = [run for run in runs if run.objective == name]
        keys = differing([run.identity for run in alike])
        told = [tuple(shortly(run.settings.get(key), 10_000) for key in keys) for run in alike]
        number = {values: place for place, values in enumerate(dict.fromkeys(told), start=1)}
        for run, values in zip(alike, told, strict=True):
            parts = [f"{key} {shortly(value)}" for key, value in zip(keys, values, strict=True)]
            full = ", ".join([name, *parts])
            apart.append(replace(run, objective=full if len(keys) <= FEW else f"{name} ({number[values]})"))
    return apart


def differing(settings: Sequence[Settings]) -> list[str]:
    """Keys that not all have with the same value; one that is None is as good as absent."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({shortly(each.get(key), 10_000) for each in settings}) > 1]


def shortly(value: Any, width: int = 60) -> str:
    """A setting's value on one line; ``-`` for None."""
    line = "-" if value is None else " ".join(str(value).split())
    return line if len(line) <= width else line[: width - 3] + "..."
