"""examples/one_iteration.py: short, and what it prints is what one iteration of RLSD does."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "examples" / "one_iteration.py"


def test_it_is_a_page():
    assert len(SCRIPT.read_text().splitlines()) <= 120


def test_an_update_raises_what_was_right_and_lowers_what_was_wrong():
    child = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    change = {sign: float(x) for sign, x in re.findall(r"A ([>=<]) 0 +([+-][0-9.]+)", child.stdout)}
    assert change[">"] > 0.001
    assert change["<"] < -0.001
    evidence = re.findall(
        r"^ *\d+: \S+ +[+-][\d.]+ +[+-][\d.]+ +([+-][\d.]+) +([+-][\d.]+)", child.stdout, re.MULTILINE
    )
    (advantage,) = re.findall(r"A = ([+-][\d.]+)", child.stdout)
    assert len(evidence) == 8
    for delta, credit in evidence:
        assert float(credit) * float(advantage) > 0, "the sign is the verifier's"
        if float(delta) == 0:  # as rounded: its sign cannot be read
            continue
        larger = abs(float(credit)) - abs(float(advantage))
        agrees = float(delta) * float(advantage) > 0
        assert larger >= -0.01 if agrees else larger <= 0.01
