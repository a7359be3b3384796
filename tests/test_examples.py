"""The worked examples: their data verifies itself, and the command that they print trains."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from tests.conftest import REPOSITORY

EXAMPLES = ("functions", "json_extraction", "text_to_sql")

SHORT = [
    *("--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
    *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.max_completion_tokens", "8"),
    *("--data.val_problems", "2", "--data.val_samples", "1", "--data.max_skipped_share", "0", "--model.lora.r", "0"),
    *("--data.max_prompt_tokens", "3000"),
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains_by_the_command_that_it_prints(name, tiny_model, tmp_path: Path, monkeypatch):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    script = REPOSITORY / "examples" / f"{name}.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=True)
    program, entry, *flags = shlex.split(done.stdout)
    assert (program, entry) == ("python", "scripts/fit.py")
    assert flags[-2] == "--model"
    table = Path(flags[flags.index("--task.path") + 1])
    table.write_text("".join(table.read_text().splitlines(keepends=True)[::4]))
    run = tmp_path / "run"
    cli = fit([*flags[:-1], str(tiny_model), *SHORT, "--run_dir", str(run)])
    data = cli.datamodule
    assert {split: len(rows) for split, rows in data.usable.items()} == {s: data.task.size(s) for s in data.usable}
    history = read_history(run)
    assert history["rollout/reward"][1] == 0.0
    assert history["rollout/status_error"][1] == 0.0
    if name != "json_extraction":
        assert history["rollout/sandbox_level"][1] >= 2


def test_the_examples_are_found():
    assert {f"{name}.py" for name in EXAMPLES} | {"one_iteration.py", "word_problems.py"} == {
        path.name for path in (REPOSITORY / "examples").glob("*.py")
    }
