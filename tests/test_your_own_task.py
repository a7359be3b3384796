"""docs/your-own-task.md, command by command, in order, shortened."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.evaluate import evaluate
from rlsd_pl.commands.privileged.command import make_privileged
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from tests.conftest import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "your-own-task.md").read_text()
COMMANDS = [block.strip() for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)]
FILES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE, re.DOTALL)

SHORT = [
    *("--trainer", "cpu", "--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.val_problems", "2"),
    *("--data.val_samples", "1", "--data.max_completion_tokens", "8"),
]
SHORT_FIT = [*SHORT, "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"]


def test_the_guide_from_the_table_to_privileged_data(tiny_model, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    for name, source in FILES:
        Path(name).write_text(source)
    for command in (line for block in COMMANDS for line in block.splitlines()):
        monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
        python, program, *flags = shlex.split(command.replace("Qwen/Qwen3-0.6B", str(tiny_model)))
        assert python == "python"
        match program:
            case "scripts/fit.py":
                fit([*flags, *SHORT_FIT])
            case "scripts/evaluate.py":
                evaluate([*flags, "--data.val_problems", "2", "--data.max_completion_tokens", "8"])
            case "scripts/make_privileged.py":
                assert make_privileged([*flags, *SHORT]).problems == 40
            case _:
                runpy.run_path(program, run_name="__main__")
    assert [Path(shlex.split(line)[1]).name for block in COMMANDS for line in block.splitlines()] == [
        *("make_prices.py", "fit.py", "evaluate.py", "fit.py", "fit.py", "make_privileged.py", "fit.py", "fit.py")
    ]
    assert read_history(Path("runs/prices"))["rollout/status_error"][1] == 0
    prompts = Path("runs/north/rollouts.jsonl").read_text()
    assert "Region north." in prompts
    assert "Region south." not in prompts
    assert "fee" not in Path("runs/prices/rollouts.jsonl").read_text()


@pytest.mark.parametrize("file", ["make_prices.py", "prices_reward.py"])
def test_the_guide_holds_its_files(file):
    assert file in dict(FILES)
