"""What importing the formulas costs, and what they export."""

from __future__ import annotations

import inspect
import subprocess
import sys

from rlsd_pl import functional


def test_importing_the_formulas_loads_neither_lightning_nor_transformers():
    program = (
        "import sys, rlsd_pl.functional\n"
        "heavy = {'lightning', 'pytorch_lightning', 'transformers', 'peft', 'datasets', 'torchmetrics'}\n"
        "print(*sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_every_exported_name_exists_once_and_has_a_docstring():
    assert len(set(functional.__all__)) == len(functional.__all__)
    for name in functional.__all__:
        exported = getattr(functional, name)
        is_alias = not inspect.isroutine(exported) and not inspect.isclass(exported)
        assert is_alias or exported.__doc__, name
