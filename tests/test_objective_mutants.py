"""Would the tests of the objectives notice a wrong one? Each mutant is a copy of the package with one edit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MUTANTS = [
    ("sdpg", "batch.advantages > 0", "batch.advantages < 0"),
    ("sdpg", " & (batch.advantages > 0)", ""),
    ("grpo_opsd", "strength * self.distilled", "self.distilled"),
    ("sdar", "rewarded.loss + distilled", "rewarded.loss - distilled"),
    ("sdar", ".masked_fill(~batch.has_context[:, None], 0.0)", ""),
    ("sdar", "batch.teacher_logprobs, scores.logprobs, self", "scores.logprobs, batch.teacher_logprobs, self"),
    ("cepo", "batch.contrast_mask & batch.has_context[:, None]", "batch.contrast_mask"),
    ("cepo", "batch.teacher_logprobs, batch.contrast", "batch.rollout_logprobs, batch.contrast"),
    ("rlcsd", "kind & contrasted & mask", "kind & mask"),
    ("rlcsd", "(~selected, 1.0)", "(~selected, 0.0)"),
    ("rlcsd", "weight * mask.sum()", "weight * len(mask)"),
    ("rlsd", "masked_fill(~batch.span_mask", "masked_fill(batch.span_mask"),
    ("rlsd", "batch.teacher_logprobs, batch.rollout", "batch.rollout_logprobs, batch.teacher"),
    ("rlrt", "strength or Constant(0.5)", "strength or Constant(0.0)"),
    ("weighting", "F.rlrt_credit(", "F.rlrt_all_credit("),
    ("opsd", "batch.has_context.float()", "(~batch.has_context).float()"),
    ("opsd", "credit(batch.teacher_logprobs, batch.rollout", "credit(batch.rollout_logprobs, batch.teacher"),
    ("sft", "torch.ones_like", "torch.zeros_like"),
    ("base", "masked_fill(weights == 0, 0.0)", "masked_fill(weights != 0, 0.0)"),
    ("base", "self.reference_kl.coefficient * kl", "kl"),
    ("base", "scores.logprobs, batch.reference_logprobs", "batch.reference_logprobs, scores.logprobs"),
    ("base", 'return diagnostics["importance"] * loss', "return loss"),
    ("base", "batch.rollout_logprobs if batch.off_policy else", "batch.rollout_logprobs if not batch.off_policy else"),
]
CHECKS = ("tests/test_objective_formulas.py", "tests/test_sampling.py", "tests/test_objectives.py")


def checked(module: str, original: str, mutated: str, copy: Path) -> subprocess.CompletedProcess[str]:
    """The checks, on a copy of the package with one edit."""
    for folder in ("rlsd_pl", "callbacks", "tests", "configs", "scripts", "docs"):
        shutil.copytree(REPOSITORY / folder, copy / folder)
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    path = copy / "rlsd_pl" / "objectives" / f"{module}.py"
    source = path.read_text()
    assert source.count(original) >= 1
    path.write_text(source.replace(original, mutated, 1))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CHECKS, "-m", "not slow"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def test_the_copy_passes_without_an_edit(tmp_path: Path):
    done = checked("base", "class Objective", "class Objective", tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(("module", "original", "mutated"), MUTANTS)
def test_some_check_fails(module: str, original: str, mutated: str, tmp_path: Path):
    done = checked(module, original, mutated, tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    assert "FAILED" in done.stdout
