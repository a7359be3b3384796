"""The true entry point, from flags to a run folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, newest_checkpoint, read_history
from tests.conftest import REPOSITORY

LAB = [
    *("--trainer", "cpu", "--trainer.check_val_every_n_epoch", "1", "--trainer.max_epochs", "2"),
    *(
        "--data.prompts_per_rollout",
        "4",
        "--data.group_size",
        "4",
        "--data.val_problems",
        "4",
        "--data.val_samples",
        "2",
    ),
]


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])


def run(folder: Path, *flags: str) -> Path:
    fit([*LAB, "--run_dir", str(folder), *flags])
    return folder


def rollouts(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def lab_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "rlsd"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fit.py"])
        return run(folder, "--objective", "rlsd", "--trainer.max_epochs", "3")


def test_a_run_leaves_everything_in_its_folder(lab_run):
    for name in ("config.yaml", "rollouts.jsonl", "learning_curve.png", "hf/model.safetensors"):
        assert (lab_run / name).stat().st_size > 0, name
    assert list(lab_run.glob("tensorboard/*/events*"))
    assert newest_checkpoint(lab_run).name == "iteration-000003.ckpt"
    history = read_history(lab_run)
    assert sorted(history["rollout/reward"]) == [1, 2, 3]
    assert sorted(history["val/greedy_accuracy"]) == [0, 1, 2, 3]
    assert history["credit/strength"][1] == 0.5
    records = rollouts(lab_run)
    assert len(records) == 3 * 4
    assert len(records[0]["tokens"]) == len(records[0]["token_advantages"])


def test_the_exported_folder_is_the_trained_policy(lab_run):
    model = AutoModelForCausalLM.from_pretrained(lab_run / "hf")
    AutoTokenizer.from_pretrained(lab_run / "hf")
    checkpoint = torch.load(newest_checkpoint(lab_run), weights_only=False)["state_dict"]
    base = AutoModelForCausalLM.from_pretrained(REPOSITORY / "rlsd_pl" / "lab" / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    trained = model.state_dict()[name]
    assert torch.equal(trained, checkpoint[f"_policy.model.{name}"])
    assert not torch.equal(trained, base.state_dict()[name])


def test_a_resumed_run_is_the_uninterrupted_one(lab_run, tmp_path, capsys):
    folder = run(tmp_path / "stopped", "--objective", "rlsd", "--trainer.max_epochs", "2")
    fit(["--resume", str(folder), "--trainer.max_epochs", "3"])
    whole, resumed = (torch.load(newest_checkpoint(f), weights_only=False)["state_dict"] for f in (lab_run, folder))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_history(folder)["rollout/reward"] == read_history(lab_run)["rollout/reward"]
    assert read_history(folder)["val/greedy_accuracy"] == read_history(lab_run)["val/greedy_accuracy"]
    assert len(list(folder.glob("config*.yaml"))) == 2


def test_objectives_on_one_seed_share_problems_and_first_rollouts(lab_run, tmp_path):
    def first(folder: Path) -> list:
        return [(r["problem"], r["completion"], r["reward"]) for r in rollouts(folder) if r["iteration"] == 1]

    expected = first(lab_run)
    for objective in ("rlvr", "opsd"):
        folder = run(tmp_path / objective, "--objective", objective, "--trainer.max_epochs", "1")
        assert first(folder) == expected


def test_another_seed_draws_other_problems(lab_run, tmp_path):
    other = run(tmp_path / "other", "--seed_everything", "1", "--trainer.max_epochs", "1")
    assert rollouts(other)[0]["problem"] != rollouts(lab_run)[0]["problem"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--objective", "rlsd", "--context", "solution", "--context.field", "answer"],
        ["--objective", "rlsd", "--model.lora.r", "4", "--teacher", "frozen"],
        ["--objective", "opsd", "--context", "answer"],
        ["--objective", "rlvr"],
    ],
    ids=["solution", "lora-frozen", "opsd", "rlvr"],
)
def test_a_real_model_trains_on_rows_of_a_file(flags, tiny_model, problem_file, tmp_path):
    folder = tmp_path / "run"
    fit(
        [
            *("--model", str(tiny_model), "--task", "jsonl", "--task.path", str(problem_file)),
            *("--task.prompt_column", "question", "--task.answer_pattern", "#### (.+)", "--task.val_fraction", "0.3"),
            *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.max_completion_tokens", "8"),
            *("--data.val_problems", "2", "--data.val_samples", "1", "--data.micro_batch_size", "3"),
            *("--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
            *("--run_dir", str(folder), *flags),
        ]
    )
    AutoModelForCausalLM.from_pretrained(folder / "hf")
    history = read_history(folder)
    assert history["rollout/truncated"][1] > 0
    prompt = rollouts(folder)[0]["prompt"]
    assert "####" not in prompt


def test_the_console_shows_what_a_user_needs_and_nothing_else(tmp_path):
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *LAB, "--run_dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("RLSD on ChainTask, 252,")
    assert lines[1].split() == [
        "iter",
        "reward",
        "greedy",
        "sampled",
        "length",
        "hollow",
        "strength",
        "clip",
        "entropy",
        "tokens/s",
    ]
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "2"]
    assert any(line.split() == ["held-out", "before", "after"] for line in lines)
    assert lines[-1].startswith("2 iterations in ")
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_run_keeps_its_finished_iterations(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *LAB, "--run_dir", str(folder)]
    # A background job of a non-interactive shell ignores SIGINT and hands that down: the run must not inherit it.
    process = subprocess.Popen(
        [*command, "--trainer.max_epochs", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/*.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        shown, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"The run went on; where it stands:\n{process.communicate()[0]}")
    assert "--resume" in shown
    done = int(newest_checkpoint(folder).stem.rpartition("-")[2])
    fit(["--resume", str(folder), "--trainer.max_epochs", str(done + 1)])
    assert sorted(read_history(folder)["rollout/reward"]) == list(range(1, done + 2))
