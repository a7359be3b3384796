"""docs/extending.md: its files, run together by its own command."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from rlsd_pl.commands.runs import read_history
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL))
SHORT = [
    *("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "2", "--data.val_problems", "2"),
    *("--data.prompts_per_rollout", "2", "--data.group_size", "3", "--data.val_samples", "1", "--trainer", "cpu"),
    *("--data.max_completion_tokens", "8", "--run_dir", "run"),
]


def test_one_example_for_each_plug():
    plugs = {"task", "verifier", "context", "teacher", "part", "objective", "engine", "callback"}
    assert set(FILES) == {f"my_{plug}.py" for plug in plugs}


def test_the_examples_train_together_by_the_command_of_the_page(tiny_model, tmp_path):
    for name, source in FILES.items():
        (tmp_path / name).write_text(source)
    (command,) = re.findall(r"```sh\n(python scripts/fit.py .*?)\n```", PAGE)
    flags = [str(tiny_model) if flag.startswith("Qwen/") else flag for flag in shlex.split(command)[2:]]
    fit = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *flags, *SHORT]
    child = subprocess.run(fit, cwd=tmp_path, env=_environment(tmp_path), capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    history = read_history(tmp_path / "run")
    assert set(history["rollout/longest"]) == {1, 2}
    assert history["credit/strength"] == pytest.approx({1: 0.5, 2: 0.5 * 0.5**0.1}, rel=1e-6)
    assert history["train/pull"][1] >= 0


def _environment(folder):
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
