"""Copies of the formula packages with one edit, for tests that ask whether other tests would notice."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import rlsd_pl

PACKAGES = ("functional", "objectives")
ROOT = Path(rlsd_pl.__file__).parent


class Mutant(NamedTuple):
    """An edit: ``original`` in the module (a path below the package, without ``.py``) becomes ``mutated``."""

    module: str
    original: str
    mutated: str


def mutants(edits: dict[str, list[tuple[str, str]]]) -> list[Mutant]:
    """Flat, from edits by module."""
    return [Mutant(module, *edit) for module, pairs in edits.items() for edit in pairs]


class _Edited(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the edited module, and no other."""

    def __init__(self, mutant: Mutant) -> None:
        self.path = ROOT / f"{mutant.module}.py"
        source = self.path.read_text()
        assert mutant.original in source, f"{mutant} no longer applies: its original text is gone"
        self.code = compile(source.replace(mutant.original, mutant.mutated), f"<mutant of {mutant.module}>", "exec")
        self.name = "rlsd_pl." + mutant.module.replace("/", ".")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


@contextmanager
def imported(mutant: Mutant) -> Iterator[dict[str, ModuleType]]:
    """Fresh copies of the formula packages by name (``objectives``, ``objectives.parts.weighting``), one edited."""
    prefixes = tuple(f"rlsd_pl.{package}" for package in PACKAGES)
    kept = {name: module for name, module in sys.modules.items() if name.startswith(prefixes)}
    finder = _Edited(mutant)
    for name in kept:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        for package in PACKAGES:
            importlib.import_module(f"rlsd_pl.{package}")
        yield {n.removeprefix("rlsd_pl."): module for n, module in sys.modules.items() if n.startswith(prefixes)}
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith(prefixes)]:
            del sys.modules[name]
        sys.modules.update(kept)
        for package in PACKAGES:
            setattr(rlsd_pl, package, kept[f"rlsd_pl.{package}"])
