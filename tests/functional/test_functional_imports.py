"""What importing the formulas costs, and what they export."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

from rlsd_pl import functional, objectives
from rlsd_pl.objectives import parts


def test_importing_the_formulas_loads_neither_lightning_nor_transformers():
    program = (
        "import sys, rlsd_pl.functional, rlsd_pl.objectives.parts\n"
        "heavy = {'lightning', 'pytorch_lightning', 'transformers', 'peft', 'datasets', 'torchmetrics'}\n"
        "print(*sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("package", [functional, parts, objectives], ids=lambda package: package.__name__)
def test_every_exported_name_exists_once_and_has_a_docstring(package: ModuleType):
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        exported = getattr(package, name)
        is_alias = not inspect.isroutine(exported) and not inspect.isclass(exported)
        assert is_alias or exported.__doc__, name


def test_objectives_export_every_part():
    assert set(parts.__all__) <= set(objectives.__all__)
    assert all(getattr(parts, name) is getattr(objectives, name) for name in parts.__all__)
