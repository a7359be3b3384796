"""A checkpoint under LoRA holds what is trained; the rest is the base model's, and must be the same on resume."""

import shutil

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file, save_file

from rlsd_pl.objectives import RLVR, KeepReward
from rlsd_pl.persistence.checkpoints import CheckpointError
from rlsd_pl.persistence.iterations import expected_size
from rlsd_pl.policy import LoRA
from rlsd_pl.teachers import PeriodicTeacher
from tests.harness import TRAINER, data, module, weights

ADAPTERS = LoRA(r=2)


def fresh(model):
    return module(model, RLVR(truncation=KeepReward()), PeriodicTeacher(every=1), lora=ADAPTERS)


def fit(trained, iterations: int, checkpoint=None):
    torch.manual_seed(0)  # of the first adapters
    Trainer(**{**TRAINER, "max_epochs": iterations}).fit(trained, data(), ckpt_path=checkpoint, weights_only=True)
    return trained


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory):
    return shutil.copytree(tiny_model, tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def first(base, tmp_path_factory):
    """The checkpoint of one iteration, and the policy that it was made from."""
    path = tmp_path_factory.mktemp("run") / "one.ckpt"
    trained = fresh(base)
    fit(trained, 1).trainer.save_checkpoint(path)
    return path, trained


def test_it_holds_adapters_and_snapshots_alone(first):
    path, trained = first
    state = torch.load(path, weights_only=True)["state_dict"]
    assert state.keys() > {f"_policy.{name}" for name in trained.policy.trainable()}
    assert [name for name in state if "lora_" not in name and not name.startswith("teacher.")] == []
    base_size = sum(p.numel() * p.element_size() for p in trained.policy.parameters() if not p.requires_grad)
    assert path.stat().st_size < base_size / 2
    assert expected_size(trained) < base_size


def test_resume_gives_the_weights_of_the_run_that_was_not_interrupted(base, first):
    whole = fit(fresh(base), 2)
    resumed = fit(fresh(base), 2, first[0])
    assert any(not torch.equal(w, weights(first[1])[name]) for name, w in weights(resumed).items())
    for expected, got in ((whole.state_dict(), resumed.state_dict()), (weights(whole), weights(resumed))):
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_another_base_model_is_refused_by_name(base, first, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] += 1
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.up_proj.* has other values.*put the former model back"):
        fit(fresh(other), 2, first[0])


def test_a_checkpoint_that_holds_the_base_loads_as_before(base, first, tmp_path):
    checkpoint = torch.load(first[0], weights_only=True)
    del checkpoint["frozen_hashes"]
    checkpoint["state_dict"] = first[1].state_dict()
    torch.save(checkpoint, tmp_path / "whole.ckpt")
    resumed = fit(fresh(base), 1, tmp_path / "whole.ckpt")
    assert all(torch.equal(w, weights(first[1])[name]) for name, w in weights(resumed).items())


def test_without_adapters_all_weights_are_saved(tiny_model, tmp_path):
    trained = fit(module(tiny_model, RLVR(truncation=KeepReward())), 1)
    trained.trainer.save_checkpoint(tmp_path / "full.ckpt")
    checkpoint = torch.load(tmp_path / "full.ckpt", weights_only=True)
    assert "frozen_hashes" not in checkpoint
    assert checkpoint["state_dict"].keys() == trained.state_dict().keys()
