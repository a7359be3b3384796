"""Weights: complete, finite, and made for their tokenizer."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rlsd_pl.errors import SetupError, listed
from rlsd_pl.liger import use_liger
from rlsd_pl.models.adapters import LoRA, with_adapters
from rlsd_pl.models.folder import load_config, loaded, resolve

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def load_model(
    name_or_path: str,
    lora: LoRA | None = None,
    dtype: Dtype = "float32",
    attn_implementation: str | None = None,
    gradient_checkpointing: bool = False,
    liger: bool = False,
) -> PreTrainedModel | PeftModel:
    """A causal LM with the weights of its folder, and adapters around it where the rank is above 0.

    Raises:
        SetupError: if the folder cannot be read, if its weights are not exactly those that the configuration asks for,
            or if one of them is not finite.
    """
    path, config = resolve(name_or_path), load_config(name_or_path)
    if attn_implementation is not None:
        config._attn_implementation = attn_implementation
    found: Any = loaded(
        name_or_path,
        "weights",
        lambda: AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused below
            trust_remote_code=False,
        ),
    )
    model, report = found
    _check_complete(name_or_path, model, report)
    _check_finite(name_or_path, model)
    if liger:
        use_liger(model)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if lora is None or lora.r == 0:
        return model
    if gradient_checkpointing:
        model.enable_input_require_grads()
    return with_adapters(model, lora)


def check_vocabulary(name_or_path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises :class:`SetupError` if the tokenizer has ids for which the model has no embedding."""
    rows = cast(torch.nn.Embedding, model.get_input_embeddings()).num_embeddings
    if (highest := max(tokenizer.get_vocab().values())) >= rows:
        raise SetupError(
            f"The tokenizer of {name_or_path!r} has token ids up to {highest}, but the model embeds {rows}. Expected "
            "tokenizer and weights of one model. Put the right tokenizer into the folder."
        )


def _check_complete(name_or_path: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """transformers draws missing weights at random and drops those it does not know; neither is what was asked for."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    problems = {
        "are missing (they would be drawn at random)": report["missing_keys"] - tied,
        "have another shape": {entry[0] for entry in report["mismatched_keys"]},
        "belong to no part of the model": report["unexpected_keys"] - tied,
    }
    found = [f"{len(names)} {what}: {listed(sorted(names))}" for what, names in problems.items() if names]
    if found or report["error_msgs"]:
        raise SetupError(
            f"The weights of {name_or_path!r} are not those that its config.json describes: "
            f"{'; '.join(found) or report['error_msgs'][0]}. Expected a complete model of one kind. Correct "
            "config.json (number of layers, sizes, tie_word_embeddings), or download the folder again."
        )


def _check_finite(name_or_path: str, model: PreTrainedModel) -> None:
    ruined = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if ruined:
        raise SetupError(
            f"{len(ruined)} weights of {name_or_path!r} hold NaN or infinity: {listed(ruined)}. Nothing could be "
            "sampled. Set --model to a folder with finite weights, such as an earlier export."
        )
