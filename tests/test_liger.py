"""Liger's kernels are asked for through transformers; a stand-in takes the package's place."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from transformers.integrations import liger

from rlsd_pl.errors import SetupError
from rlsd_pl.objectives import RLVR
from rlsd_pl.policy import Policy
from tests.harness import module


@pytest.fixture
def stand_in(monkeypatch) -> list[tuple[object, dict]]:
    """A package that knows llama and qwen3, on a machine with a GPU; lists what it was asked to patch."""
    asked: list[tuple[object, dict]] = []
    package = ModuleType("liger_kernel.transformers")
    package._apply_liger_kernel_to_instance = lambda model, **flags: asked.append((model, flags))
    patches = ModuleType("liger_kernel.transformers.monkey_patch")
    patches.MODEL_TYPE_TO_APPLY_LIGER_FN = {"qwen3": None, "llama": None}
    for found in (ModuleType("liger_kernel"), package, patches):
        monkeypatch.setitem(sys.modules, found.__name__, found)
    monkeypatch.setattr(liger, "is_liger_kernel_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return asked


def test_the_model_is_patched_and_losses_are_left_alone(stand_in, tiny_model):
    policy = Policy.from_pretrained(str(tiny_model), liger=True)
    assert stand_in == [(policy.causal_lm, {"fused_linear_cross_entropy": False, "cross_entropy": False})]


def test_the_module_passes_the_flag_on(stand_in, tiny_model):
    for flag, patched in ((True, 1), (False, 1)):
        module(tiny_model, RLVR(), liger=flag).load_policy()
        assert len(stand_in) == patched


def test_what_is_missing_is_told(stand_in, tiny_model, monkeypatch):
    del sys.modules["liger_kernel.transformers.monkey_patch"].MODEL_TYPE_TO_APPLY_LIGER_FN["qwen3"]
    with pytest.raises(SetupError, match=r"model\.liger=true for a qwen3 model; expected one of llama"):
        Policy.from_pretrained(str(tiny_model), liger=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SetupError, match="without a CUDA device"):
        Policy.from_pretrained(str(tiny_model), liger=True)
    monkeypatch.setattr(liger, "is_liger_kernel_available", lambda: False)
    with pytest.raises(SetupError, match=r"not installed\. pip install 'rlsd_pl\[liger\]'"):
        Policy.from_pretrained(str(tiny_model), liger=True)
    assert not stand_in
