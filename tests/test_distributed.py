"""Two processes over gloo give the update of one; the whole program runs under ddp and fsdp."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlsd_pl.commands.runs import read_history
from rlsd_pl.persistence.checkpoints import damage, saved
from rlsd_pl.policy import Policy
from tests.conftest import REPOSITORY

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}


def update(model: Path, out: Path, strategy: str, devices: int) -> dict:
    script = REPOSITORY / "tests" / "update_script.py"
    command = [sys.executable, str(script), str(model), strategy, str(devices), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=False)


@pytest.fixture(scope="module")
def alone(tiny_model, tmp_path_factory) -> dict:
    return update(tiny_model, tmp_path_factory.mktemp("alone") / "out.pt", "auto", 1)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_give_the_update_of_one(tiny_model, tmp_path, alone, strategy):
    shared = update(tiny_model, tmp_path / "out.pt", strategy, 2)
    untrained = Policy.from_pretrained(str(tiny_model)).trainable()
    assert alone.keys() == shared.keys() == {"RLSD", "OPSD"}
    for objective in alone:
        one, two = alone[objective], shared[objective]
        moved = max((one["weights"][name] - p).abs().max().item() for name, p in untrained.items())
        assert moved > 1e-3
        for name, weight in one["weights"].items():
            assert torch.allclose(weight, two["weights"][name], atol=1e-6, rtol=0), (objective, name)
        for key in ("train/grad_norm", "train/loss", "rollout/reward", "rollout/length"):
            assert two["metrics"][key].item() == pytest.approx(one["metrics"][key].item(), abs=1e-5), key


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_fit_runs_on_two_processes_and_goes_on_after_a_stop(trainer, tmp_path):
    run = tmp_path / "run"
    flags = [
        *("--trainer", trainer, "--trainer.accelerator", "cpu", "--teacher.every", "1"),
        *("--data.val_problems", "5", "--data.val_samples", "1", "--data.group_size", "4"),
        *(
            "--data.micro_batch_size",
            "8",
            "--data.max_resampling_rounds",
            "2",
            "--trainer.check_val_every_n_epoch",
            "1",
        ),
        *("--run_dir", str(run), "--trainer.max_epochs", "1"),
    ]
    fit(flags)
    (checkpoint,) = saved(run / "checkpoints")
    assert checkpoint.is_dir() == (trainer == "fsdp")
    assert damage(checkpoint) is None
    shown = fit(["--resume", str(run), "--trainer.max_epochs", "2"])
    assert "2 iterations" in shown
    AutoModelForCausalLM.from_pretrained(run / "hf")
    history = read_history(run)
    assert sorted(history["rollout/reward"]) == [1, 2]
    assert history["rollout/resampling_rounds"], "the processes lack different numbers of groups"
    assert sorted(history["val/greedy_accuracy"]) == [0, 1, 2]
    assert sorted(history["leakage/teacher_kl"]) == [0, 1, 2]


def fit(flags: list[str]) -> str:
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout
