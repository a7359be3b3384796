"""Every reason code that these verifiers can give is explained in docs/verifiers.md, and the package stays lazy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rlsd_pl.verifiers
from rlsd_pl.verifiers.extraction import Missing
from rlsd_pl.verifiers.sandbox import Level, detect
from rlsd_pl.verifiers.workers.pool import Outcome

ROOT = Path(__file__).parents[2]
MODULES = [
    "choice", "format", "function", "documents/verifier", "math/verifier", "numeric", "reasoning_gym", "remote",
    "documents/tool_calls", "documents/schemas", "documents/references", "documents/strict",
    "math/screen", "math/symbolic",
]  # fmt: skip
_MAKERS = r"(?:passed|failed|invalid|limited|broken|JSONTextError|JSONLimitError)\(\s*\"(\w+)\""
_OUTCOMES = r"_outcome\(\"\w+\", \"(\w+)\""
_REPLIES = r"\"code\": f?\"(\w+)"
_SCREENS = r"(?:return |^        )\"(\w+_\w+)\""


def codes() -> set[str]:
    found = {*Missing, *(f"worker_{outcome}" for outcome in Outcome if outcome is not Outcome.VALUE)}
    for module in MODULES:
        text = (ROOT / "rlsd_pl/verifiers" / f"{module}.py").read_text()
        for pattern in (_MAKERS, _OUTCOMES, _REPLIES, *([_SCREENS] if module.endswith("screen") else [])):
            found.update(re.findall(pattern, text, re.MULTILINE))
    return found


@pytest.mark.parametrize("code", sorted(codes()))
def test_the_code_is_documented(code: str) -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs/verifiers.md").read_text()))
    assert code in documented


def test_enough_codes_were_found() -> None:
    assert {
        "unevaluated",
        "power_too_large",
        "duplicate_key",
        "valid",
        "worker_timeout",
        "tag_empty",
        "precision_exceeded",
    } <= codes()


def test_the_examples_run() -> None:
    """All blocks of the page, in order, as one program; those of the sandbox where something isolates."""
    page = (ROOT / "docs/verifiers.md").read_text()
    blocks = re.findall(r"^```python( sandbox)?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    isolated = detect().level >= Level.L2
    program = "\n".join(block for needs, block in blocks if isolated or not needs)
    run = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_the_package_exports_lazily() -> None:
    program = "import sys, rlsd_pl.verifiers; sys.exit('torch' in sys.modules or 'sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = rlsd_pl.verifiers.Nothing
    assert rlsd_pl.verifiers.MathVerifier.__name__ in dir(rlsd_pl.verifiers)
