"""Model folders: what is loaded is what the folder holds, and broken ones are refused in a few lines."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlsd_pl.errors import SetupError
from rlsd_pl.models import EMBEDDED, LoRA, load_config, load_model, load_tokenizer, max_positions, resolve
from rlsd_pl.policy import Policy
from tests.conftest import CHAT_TEMPLATE


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; ``None`` removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def set_template(folder: Path, template: str | None) -> None:
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)


def refused(load: Callable[[], object]) -> str:
    with pytest.raises(SetupError) as error:
        load()
    message = str(error.value)
    assert len(message.splitlines()) <= 3
    assert len(message) < 800
    return message


WHOLE = "model.layers.1.mlp.up_proj.weight"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "four layers, weights of two": (
        lambda f: edit(f / "config.json", num_hidden_layers=4, layer_types=["full_attention"] * 4),
        "22 are missing (they would be drawn at random): model.layers.2.input_layernorm.weight",
    ),
    "one layer, weights of two": (
        lambda f: edit(f / "config.json", num_hidden_layers=1, layer_types=["full_attention"]),
        "11 belong to no part of the model: model.layers.1.input_layernorm.weight",
    ),
    "a weight is gone": (lambda f: edit_weights(f, lambda w: w.pop(WHOLE)), f"1 are missing .*: {WHOLE}"),
    "a weight has another name": (
        lambda f: edit_weights(f, lambda w: w.update(odd=w.pop(WHOLE))),
        "1 belong to no part of the model: odd",
    ),
    "a wider model": (
        lambda f: edit(f / "config.json", hidden_size=64),
        "have another shape: model.embed_tokens.weight",
    ),
    "a head that is not there": (
        lambda f: edit(f / "config.json", tie_word_embeddings=False),
        "1 are missing (they would be drawn at random): lm_head.weight",
    ),
    "nan": (lambda f: edit_weights(f, lambda w: w[WHOLE].view(-1)[7:8].fill_(math.nan)), f"NaN or infinity: {WHOLE}"),
    "infinity": (
        lambda f: edit_weights(f, lambda w: w[WHOLE].fill_(-math.inf)),
        f"1 weights .* NaN or infinity: {WHOLE}",
    ),
    "cut weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "weights .* cannot be loaded: SafetensorError",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "weights .* cannot be loaded"),
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
    "a config that is no JSON": (lambda f: (f / "config.json").write_text("{"), "configuration .* cannot be loaded"),
    "a config of nothing": (lambda f: (f / "config.json").write_text("{}"), "configuration .* cannot be loaded"),
    "an unknown architecture": (
        lambda f: edit(f / "config.json", model_type="nope"),
        "configuration .* cannot be loaded",
    ),
    "layers of another number": (
        lambda f: edit(f / "config.json", num_hidden_layers=9),
        "configuration .*cannot be loaded",
    ),
    "a small vocabulary": (
        lambda f: (edit(f / "config.json", vocab_size=50), edit_weights(f, _cut_vocabulary)),
        "has token ids up to 399, but the model embeds 50",
    ),
    "a tokenizer that is no JSON": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer .* cannot be loaded"),
    "no tokenizer": (
        lambda f: [path.unlink() for path in f.glob("tokenizer*")],
        "knows no token of a plain sentence",
    ),
    "a template that ignores the messages": (
        lambda f: set_template(f, "<|user|>Hello.<|end|><|assistant|>"),
        "renders two different messages alike",
    ),
    "a template that cannot be parsed": (lambda f: set_template(f, "{% for"), "chat template .* cannot be loaded"),
    "a template that raises": (
        lambda f: set_template(f, "{{ raise_exception('roles must alternate') }}"),
        "chat template .* cannot be loaded: TemplateError: roles must alternate",
    ),
}


def _cut_vocabulary(weights: dict[str, torch.Tensor]) -> None:
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:50].clone()


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folders_are_refused_in_a_few_lines(case, folder):
    spoil, said = BROKEN[case]
    spoil(folder)
    message = refused(lambda: Policy.from_pretrained(str(folder)))
    assert re.search(said.replace("(they", r"\(they").replace("random)", r"random\)"), message), message


def test_weights_that_are_whole_load_bit_for_bit(folder):
    model = load_model(str(folder))
    for name, weight in load_file(folder / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_a_tied_head_may_be_absent_or_there(folder):
    load_model(str(folder))
    edit_weights(folder, lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()}))
    load_model(str(folder))


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_models_pass(name):
    policy = Policy.from_pretrained(name)
    assert max_positions(policy.causal_lm.config) == 256


@pytest.mark.parametrize("path", ["/nowhere/model", "./nowhere", "~/nowhere", ""])
def test_a_missing_folder_is_named(path):
    assert "Set --model to a folder" in refused(lambda: resolve(path))


def test_a_file_and_an_unknown_hub_id_are_refused(tmp_path):
    (tmp_path / "model.bin").write_text("x")
    assert "is no model folder" in refused(lambda: resolve(str(tmp_path / "model.bin")))
    assert "configuration of 'nobody/nothing' cannot be loaded" in refused(lambda: load_config("nobody/nothing"))


def test_an_eos_token_that_only_the_generation_config_names_is_used_and_pads(folder):
    edit(folder / "tokenizer_config.json", eos_token=None, pad_token=None)
    edit(folder / "config.json", eos_token_id=None)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 0]}))
    tokenizer = load_tokenizer(str(folder))
    assert (tokenizer.eos_token, tokenizer.pad_token_id) == ("<|end|>", 1)
    assert Policy.from_pretrained(str(folder)).stop_ids == {0, 1}


@pytest.mark.parametrize("ids", [None, [], 4000, "x"])
def test_no_eos_token_anywhere_is_refused(ids, folder):
    edit(folder / "tokenizer_config.json", eos_token=None, pad_token=None)
    edit(folder / "config.json", eos_token_id=ids if isinstance(ids, int) else None)
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert "no completion could ever end" in refused(lambda: load_tokenizer(str(folder)))


def test_template_arguments_reach_the_check(folder):
    set_template(folder, "{% if not shown %}{{ raise_exception('shown is not set') }}{% endif %}" + CHAT_TEMPLATE)
    assert "shown is not set" in refused(lambda: load_tokenizer(str(folder)))
    load_tokenizer(str(folder), {"shown": True})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 4096),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                              "original_max_position_embeddings": 4096}}, 16384),
    ],
)  # fmt: skip
def test_positions_follow_from_the_config(changes, expected, folder):
    edit(folder / "config.json", **changes)
    assert max_positions(load_config(str(folder))) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": -1}, "model.lora.r=-1; expected a rank of at least 1"),
        ({"r": 4, "alpha": 0.0}, "model.lora.alpha=0.0; expected a finite number above 0"),
        ({"r": 4, "alpha": -2.0}, "model.lora.alpha=-2.0"),
        ({"r": 4, "alpha": math.nan}, "model.lora.alpha=nan"),
        ({"r": 4, "alpha": math.inf}, "model.lora.alpha=inf"),
        ({"r": 4, "dropout": math.nan}, "model.lora.dropout=nan; expected a share"),
        ({"r": 4, "dropout": 1.5}, "model.lora.dropout=1.5"),
        ({"r": 4, "dropout": -0.1}, "model.lora.dropout=-0.1"),
    ],
)
def test_adapters_that_make_no_sense_are_refused_when_they_are_made(settings, said):
    assert said in refused(lambda: LoRA(**settings))


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (LoRA(r=33), "model.lora.r=33; expected at most 32"),
        (LoRA(r=2, target_modules="nothing"), "target_modules='nothing', with which no adapters"),
        (LoRA(r=2, target_modules="(("), r"target_modules='(('"),
    ],
)
def test_adapters_that_do_not_fit_the_model_are_refused_at_load(lora, said, tiny_model):
    assert said in refused(lambda: load_model(str(tiny_model), lora))
