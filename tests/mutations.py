"""Formula modules with one edit, for tests that ask whether other tests would notice."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import rlsd_pl.objectives

ROOT = Path(rlsd_pl.__file__).parent
Check = Callable[[ModuleType], None]
"""Holds a module to values written out."""


class Mutant(NamedTuple):
    """An edit: ``original`` in the module (a path below the package, without ``.py``) becomes ``mutated``."""

    module: str
    original: str
    mutated: str

    @property
    def name(self) -> str:
        return "rlsd_pl." + self.module.replace("/", ".")

    def code(self) -> CodeType:
        source = (ROOT / f"{self.module}.py").read_text()
        assert self.original in source, f"{self} no longer applies: its original text is gone"
        return compile(source.replace(self.original, self.mutated), f"<mutant of {self.module}>", "exec")


def mutants(edits: dict[str, list[tuple[str, str]]]) -> list[Mutant]:
    """Flat, from edits by module."""
    return [Mutant(module, *edit) for module, pairs in edits.items() for edit in pairs]


@contextmanager
def alone(mutant: Mutant) -> Iterator[ModuleType]:
    """The edited module; what it imports is unchanged."""
    module = ModuleType(f"mutant_{mutant.name}")
    sys.modules[module.__name__] = module  # dataclasses look it up
    try:
        exec(mutant.code(), module.__dict__)
        yield module
    finally:
        del sys.modules[module.__name__]


@contextmanager
def objectives_with(mutant: Mutant) -> Iterator[ModuleType]:
    """A fresh copy of the package of objectives in which one module is edited, for all that import it."""
    prefix = "rlsd_pl.objectives"
    kept = {name: module for name, module in sys.modules.items() if name.startswith(prefix)}
    for name in kept:
        del sys.modules[name]
    finder = _Finder(mutant)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(prefix)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith(prefix)]:
            del sys.modules[name]
        sys.modules.update(kept)
        rlsd_pl.objectives = kept[prefix]


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the edited module, and no other."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname == self.mutant.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.mutant.code(), module.__dict__)


def survivors(mutants: Sequence[Mutant], check_of: Callable[[Mutant], Check], load: Callable = alone) -> list[Mutant]:
    """The mutants that nobody notices; prints the score."""
    alive = [mutant for mutant in mutants if _survives(mutant, check_of(mutant), load)]
    print(f"mutation score: {len(mutants) - len(alive)} of {len(mutants)} caught")
    return alive


def _survives(mutant: Mutant, check: Check, load: Callable) -> bool:
    with load(mutant) as module:
        try:
            check(module)
        except (AssertionError, pytest.fail.Exception):
            return False
    return True


def modules_of(folder: str) -> set[str]:
    """The modules of a folder of the package, as mutants name them."""
    return {f"{folder}/{path.stem}" for path in (ROOT / folder).glob("*.py")} - {f"{folder}/__init__"}


def close(got: Tensor | float, expected: object) -> None:
    """Equal but for rounding."""
    torch.testing.assert_close(
        torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


def gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    """Of the sum of a loss, zeros where there is none."""
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (result,) = torch.autograd.grad(loss.sum(), leaf, allow_unused=True, materialize_grads=True, retain_graph=True)
    return result
