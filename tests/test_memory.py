"""A micro-batch that does not fit is halved, and the run is what it would have been."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import load_file

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from rlsd_pl.module import PolicyModule

SHORT = [
    *("--trainer", "cpu", "--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "3", "--objective", "rlsd"),
    *(
        "--data.prompts_per_rollout",
        "2",
        "--data.group_size",
        "4",
        "--data.val_problems",
        "2",
        "--data.val_samples",
        "1",
    ),
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["fit"])
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def memory_for(monkeypatch, rows: int, from_iteration: int = 0) -> list[int]:
    """A stand-in for a device that holds so many completions; lists the sizes of what was asked of it."""
    asked: list[int] = []
    training_step = PolicyModule.training_step

    def limited(self, micro, batch_idx):
        asked.append(len(micro.batch))
        if len(micro.batch) > rows and self.current_epoch >= from_iteration:
            raise torch.OutOfMemoryError("stand-in: out of memory")
        return training_step(self, micro, batch_idx)

    monkeypatch.setattr(PolicyModule, "training_step", limited)
    return asked


@pytest.mark.parametrize("from_iteration", [0, 1], ids=["before anything is saved", "after the first iteration"])
def test_the_micro_batch_is_halved_until_it_fits_and_nothing_else_changes(monkeypatch, tmp_path, from_iteration):
    fit([*SHORT, "--run_dir", "whole"])
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    asked = memory_for(monkeypatch, 2, from_iteration)
    fit([*SHORT, "--run_dir", "halved"])
    assert asked[-1] == 2
    assert {8, 4, 2} <= set(asked)
    whole, halved = (load_file(tmp_path / name / "hf" / "model.safetensors") for name in ("whole", "halved"))
    assert max((whole[name] - halved[name]).abs().max().item() for name in whole) < 1e-5
    rewards = [read_history(tmp_path / name)["rollout/reward"] for name in ("whole", "halved")]
    assert rewards[0] == rewards[1]
    assert set(rewards[1]) == {1, 2, 3}


def test_one_completion_that_does_not_fit_is_an_error_that_says_what_to_set(monkeypatch):
    memory_for(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError, match=r"micro-batches of 1\. Set --engine\.batch_size.*stand-in"):
        fit([*SHORT, "--run_dir", "never"])
