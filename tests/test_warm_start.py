"""SFT on the worked solutions of a table, then RLSD from its folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history

TASK = [
    *("--task", "gsm8k", "--task.val_fraction", "0.3", "--verifier.rule", "HashLine", "--adapter", "lora"),
    *("--model.lora.r", "4", "--optimizer.lr", "0.01", "--trainer", "cpu", "--trainer.check_val_every_n_epoch", "100"),
    *("--data.prompts_per_rollout", "4", "--data.group_size", "2", "--data.val_problems", "1"),
    *("--trainer.num_sanity_val_steps", "0", "--data.val_samples", "0", "--data.max_skipped_share", "0.9"),
]


@pytest.mark.slow
def test_rlsd_begins_with_the_weights_that_sft_has_exported(tiny_model, problem_file, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fit.py"])

    def run(*flags: str):
        monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
        return fit([*TASK, "--task.path", str(problem_file), *flags])

    warm = tmp_path / "warm"
    flags = ["--model", str(tiny_model), "--run_dir", str(warm), "--trainer.max_epochs", "6"]
    run("--objective", "sft", "--data.max_completion_tokens", "600", *flags)
    history = read_history(warm)
    assert set(history["rollout/reward"].values()) == {1.0}  # the answer texts of the rows, as the verifier reads them
    assert history["train/loss"][6] < history["train/loss"][1]
    flags = ["--model", str(warm / "hf"), "--run_dir", str(tmp_path / "rlsd"), "--trainer.max_epochs", "2"]
    second = run("--objective", "rlsd", "--data.max_completion_tokens", "8", *flags)
    trained = load_file(warm / "hf" / "model.safetensors")
    initial = load_file(tiny_model / "model.safetensors")
    base = {
        name.replace(".base_layer", ""): value
        for name, value in second.model.policy.causal_lm.state_dict().items()
        if "lora_" not in name
    }
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(trained[name], initial[name])
    assert all(torch.equal(base[name], value) for name, value in trained.items())
    assert (tmp_path / "rlsd" / "hf" / "config.json").exists()
