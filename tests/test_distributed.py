"""Two processes over gloo give the update of one; the whole program runs under ddp and fsdp."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlsd_pl.commands.runs import read_history
from rlsd_pl.persistence.checkpoints import damage, iteration_of, saved
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
    assert alone.keys() == shared.keys() == {"RLSD", "OPSD", "RLCSD", "SRPO"}
    for objective in alone:
        one, two = alone[objective], shared[objective]
        moved = max((one["weights"][name] - p).abs().max().item() for name, p in untrained.items())
        assert moved > 1e-3
        for name, weight in one["weights"].items():
            assert torch.allclose(weight, two["weights"][name], atol=1e-6, rtol=0), (objective, name)
        held_out = ("val/greedy_accuracy", "leakage/teacher_kl")  # of one problem: a process has none
        for key in ("train/grad_norm", "train/loss", "rollout/reward", "rollout/length", *held_out):
            assert two["metrics"][key].item() == pytest.approx(one["metrics"][key].item(), abs=1e-5), key
        at_once = "leakage/answer_at_once"
        assert two["metrics"][at_once].item() == pytest.approx(one["metrics"][at_once].item(), rel=1e-3, abs=0)


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


SMALL = [
    *("--trainer", "ddp", "--trainer.accelerator", "cpu", "--data.prompts_per_rollout", "2", "--data.group_size", "2"),
    *("--data.val_problems", "2", "--data.val_samples", "0", "--data.max_completion_tokens", "24"),
]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("receiver", ["first", "both"])
def test_sigterm_ends_both_processes_at_the_last_iteration_and_the_run_goes_on(receiver, tmp_path):
    """As from a person, to the process that was started; as from a scheduler, to all of its group."""
    run, log = tmp_path / "run", tmp_path / "log"
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *SMALL]
    command += ["--run_dir", str(run), "--trainer.max_epochs", "1000"]
    with log.open("wb") as output:
        launched = subprocess.Popen(command, stdout=output, stderr=output, env=ENVIRONMENT, start_new_session=True)
    try:
        wait(lambda: bool(saved(run / "checkpoints")) or launched.poll() is not None)
        time.sleep(0.7)
        assert len(members(launched.pid)) == 2, log.read_text()[-2000:]
        (os.kill if receiver == "first" else os.killpg)(launched.pid, signal.SIGTERM)
        assert launched.wait(60) == 143, log.read_text()[-2000:]
        wait(lambda: not members(launched.pid), seconds=10)
        assert members(launched.pid) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launched.pid, signal.SIGKILL)
    newest, *_ = saved(run / "checkpoints")
    told = log.read_text()
    assert "Traceback" not in told
    assert f"{iteration_of(newest)} iterations are saved; go on with: rlsd-pl fit --resume {run}" in told
    assert damage(newest) is None
    fit(["--resume", str(run), "--trainer.max_epochs", str(iteration_of(newest) + 1)])
    assert max(read_history(run)["rollout/reward"]) == iteration_of(newest) + 1


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, _, rest = entry.read_text().partition(" (")
            state, _, of_group = rest.rpartition(") ")[2].split()[:3]
            if int(of_group) == group and state != "Z":
                found.append(int(pid))
    return found


def wait(happened: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)


def fit(flags: list[str]) -> str:
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout
