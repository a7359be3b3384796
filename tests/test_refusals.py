"""``fit`` on mistakes of every kind: a few lines on stderr, status 2, no traceback unless one is asked for."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.parser import DEBUG_VARIABLE
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE
from rlsd_pl.errors import UserCodeError

SMALL = [
    *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.max_completion_tokens", "8"),
    *("--data.val_problems", "2", "--data.val_samples", "1", "--trainer", "cpu", "--trainer.max_epochs", "1"),
]
MINE = """
import sys
from rlsd_pl.verifiers import Verifier
from rlsd_pl.types import Status, Verdict
def leaves(text, problem):
    sys.exit(0)
class Generous(Verifier):
    def verify(self, texts, problems):
        return [Verdict(5.0, Status.PASS) for _ in texts]
class Careless(Verifier):
    def verify(self, texts, problems):
        return [problem.metadata["tests"] for problem in problems]
class Unmade(Verifier):
    def __init__(self):
        self.table = {}["missing"]
    def verify(self, texts, problems):
        return []
"""


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_parts.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)


def refused(capsys, *flags: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        fit([*SMALL, "--run_dir", "run", *flags])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.strip()]) <= 3, said
    return said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--trainer.precision", "bf16-true"], "Got trainer.precision=bf16-true"),
        (["--trainer.max_epochs", "null"], "Got trainer.max_epochs=None"),
        (["--trainer.fast_dev_run", "true"], "Set --trainer.max_epochs 1"),
        (["--trainer.enable_checkpointing", "false"], "Got trainer.enable_checkpointing=False"),
        (["--trainer.accumulate_grad_batches", "4"], "--data.micro_batch_size"),
        (["--trainer.default_root_dir", "there"], "Set --run_dir"),
        (["--data.temperature", ".nan"], "Got data.temperature=nan"),
        (["--data.max_completion_tokens", "1000000000000"], "Got data.max_completion_tokens=1000000000000"),
        (["--data.max_completion_tokens", "300"], "max_completion_tokens=300 for a model of 256 positions"),
        (["--model.lora.r", "-1"], "Got model.lora.r=-1"),
        (["--optimizer.lr", ".nan"], "The optimizer cannot be made: Invalid learning rate: nan"),
        (["--optimizer.lr", ".inf"], "Got optimizer.lr=inf"),
        (["--verifier", "my_parts.Generous"], "Generous.verify returned a verdict with reward=5.0"),
        (["--verifier", "my_parts.Careless"], "Careless.verify raised KeyError: 'tests'"),
        (["--verifier", "my_parts.Unmade"], "missing"),
        (["--verifier", "rlsd_pl.verifiers.FunctionVerifier", "--verifier.function", "my_parts.leaves"],
         "FunctionVerifier (my_parts.leaves).verify raised SystemExit: 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_mistakes_end_in_a_few_lines(flags, said, capsys):
    assert said in " ".join(refused(capsys, *flags).split())


def test_a_model_whose_weights_are_incomplete_is_refused(tiny_model, tmp_path, capsys):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 4, "layer_types": ["full_attention"] * 4}
    (folder / "config.json").write_text(json.dumps(config))
    said = refused(capsys, "--model", str(folder))
    assert "22 are missing (they would be drawn at random)" in " ".join(said.split())
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_traceback_comes_when_it_is_asked_for(monkeypatch):
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with pytest.raises(UserCodeError, match=r"reward=5.0"):
        fit([*SMALL, "--run_dir", "run", "--verifier", "my_parts.Generous"])


def test_truncated_sampling_is_told_on_the_console(capsys):
    fit([*SMALL, "--run_dir", "run", "--data.top_p", "0.9"])
    shown = capsys.readouterr()
    assert " ".join((shown.out + shown.err).split()).count("Sampling is truncated") == 1
