"""The examples in the docstrings of the kernels, the parts and the methods give what they show."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
import torch

from rlsd_pl import functional, objectives
from rlsd_pl.objectives import parts

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_of(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    return [package.__name__, *(module.name for module in found)]


@pytest.mark.parametrize("name", [*modules_of(functional), *modules_of(objectives)])
def test_examples_give_what_they_show(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS, extraglobs={"torch": torch})
    assert result.failed == 0


def has_example(thing: object) -> bool:
    return ">>> " in (inspect.getdoc(thing) or "")


def test_every_kernel_has_an_example():
    kernels = [getattr(functional, name) for name in functional.__all__]
    assert [f.__name__ for f in kernels if inspect.isroutine(f) and not has_example(f)] == []


def test_every_part_has_an_example_and_a_source_or_says_what_it_is_for():
    classes = [getattr(parts, name) for name in parts.__all__]
    concrete = [c for c in classes if not inspect.isabstract(c) and c not in (parts.Weights, parts.ReferenceKL)]
    assert len(concrete) > 25
    assert [c.__name__ for c in concrete if ">>> " not in c.__doc__] == []
