"""Loading a Hugging Face causal LM and its tokenizer, so that what trains is what the folder holds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlsd_pl.chat import write_plainly
from rlsd_pl.errors import SetupError
from rlsd_pl.hub import check_hub_id
from rlsd_pl.liger import use_liger

T = TypeVar("T")

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

EMBEDDED = {"lab": "base", "lab-long": "long", "lab-expert": "expert"}
"""Models in this package, and their folders: the lab's base policy, and one that learned without misconceptions."""

NAMES_SHOWN = 3
"""Weights that a refusal names."""


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters on the policy (peft).

    Attributes:
        r: rank; 0 trains all weights.
        alpha: scale numerator; ``None`` means ``2 * r``.
        dropout: on the adapters' input.
        target_modules: ``all-linear`` or a regular expression over module names.

    Raises:
        SetupError: for a negative rank, a scale that is not positive and finite, or a dropout outside [0, 1).
    """

    r: int = 0
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: str = "all-linear"

    def __post_init__(self) -> None:
        if self.r < 0:
            raise SetupError(f"Got model.lora.r={self.r}; expected a rank of at least 1, or 0 to train all weights.")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise SetupError(
                f"Got model.lora.alpha={self.alpha}; expected a finite number above 0: the adapters are scaled by "
                "alpha / r. Leave it out for 2 * r."
            )
        if not 0 <= self.dropout < 1:
            raise SetupError(f"Got model.lora.dropout={self.dropout}; expected a share in [0, 1), for example 0.05.")


def resolve(name_or_path: str) -> str:
    """Path of a model: a name of ``EMBEDDED``, an existing folder as it is, all else a hub id.

    Raises:
        SetupError: for a path at which no folder with a config.json is, or a hub id that leads nowhere.
    """
    if name_or_path in EMBEDDED:
        return str(files("rlsd_pl") / "lab" / EMBEDDED[name_or_path])
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if not name_or_path or name_or_path.startswith((".", "/", "~")):
            raise SetupError(f"No model folder at {path}. Set --model to a folder with config.json, or a hub id.")
        check_hub_id(name_or_path)
        return name_or_path
    if not (path / "config.json").is_file():
        raise SetupError(
            f"{path} is no model folder: it holds no config.json. Set --model to a folder as save_pretrained writes "
            "it, with config.json, weights and tokenizer, or to a hub id."
        )
    return str(path)


def load_config(name_or_path: str) -> PreTrainedConfig:
    """The model's config.json.

    Raises:
        SetupError: if it cannot be read.
    """
    path = resolve(name_or_path)
    return _loaded(name_or_path, "configuration", lambda: AutoConfig.from_pretrained(path, trust_remote_code=False))


def max_positions(config: PreTrainedConfig) -> int | None:
    """Longest sequence in tokens that the positions are made for; ``None`` where the architecture has no limit."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    factor, original = rope.get("factor"), rope.get("original_max_position_embeddings")
    if positions and factor and original:
        return max(positions, int(factor * original))
    return positions


# --- tokenizer -------------------------------------------------------------------------------------------------------


def load_tokenizer(name_or_path: str, template_kwargs: dict[str, Any] | None = None) -> PreTrainedTokenizerBase:
    """Tokenizer of a model, with a chat template, an EOS token and a padding token.

    A tokenizer without a chat template, as of most base models, gets a plain one, with a warning. An EOS token that
    only generation_config.json or config.json names becomes the tokenizer's; without a padding token it pads with EOS.

    Args:
        template_kwargs: passed on to the chat template.

    Raises:
        SetupError: if it cannot be read, no EOS token is named, or its chat template does not show the messages.
    """
    path = resolve(name_or_path)
    tokenizer = _loaded(name_or_path, "tokenizer", lambda: AutoTokenizer.from_pretrained(path, trust_remote_code=False))
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = _published_eos(name_or_path, tokenizer)
    if not tokenizer.chat_template:
        write_plainly(name_or_path, tokenizer)
    _check_chat_template(name_or_path, tokenizer, template_kwargs or {})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _check_chat_template(name_or_path: str, tokenizer: PreTrainedTokenizerBase, kwargs: dict[str, Any]) -> None:
    def render(text: str) -> str:
        chat = [{"role": "user", "content": text}]
        return cast(str, tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False, **kwargs))

    if _loaded(name_or_path, "chat template", lambda: render("Name a river.")) == render("Add 7 and 5."):
        raise SetupError(
            f"The chat template of {name_or_path!r} renders two different messages alike, so the model would not see "
            "the problem. Correct `chat_template` in its tokenizer_config.json."
        )
    # Without tokenizer.json transformers make an empty tokenizer of the architecture's class.
    if not tokenizer.encode("Add 7 and 5.", add_special_tokens=False):
        raise SetupError(
            f"The tokenizer of {name_or_path!r} knows no token of a plain sentence. Expected a vocabulary, in "
            "tokenizer.json or the older files; download the folder again."
        )


def _published_eos(name_or_path: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The EOS token by the model's generation_config.json or config.json."""
    ids = getattr(load_config(name_or_path), "eos_token_id", None)
    with contextlib.suppress(OSError, ValueError):  # there may be none
        ids = GenerationConfig.from_pretrained(resolve(name_or_path)).eos_token_id or ids
    first = ids[0] if isinstance(ids, list) and ids else ids
    if not isinstance(first, int) or not 0 <= first < len(tokenizer):
        raise SetupError(
            f"Neither the tokenizer of {name_or_path!r} nor its generation_config.json names an EOS token (got "
            f"{ids!r}), so no completion could ever end. Set `eos_token` in tokenizer_config.json."
        )
    return cast(str, tokenizer.convert_ids_to_tokens(first))


# --- weights ---------------------------------------------------------------------------------------------------------


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
    loaded: Any = _loaded(
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
    model, report = loaded
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
    return _with_adapters(model, lora)


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
    found = [f"{len(names)} {what}: {_some(names)}" for what, names in problems.items() if names]
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
            f"{len(ruined)} weights of {name_or_path!r} hold NaN or infinity: {_some(ruined)}. Nothing could be "
            "sampled. Set --model to a folder with finite weights, such as an earlier export."
        )


def _with_adapters(model: PreTrainedModel, lora: LoRA) -> PeftModel:
    width = model.config.get_text_config().hidden_size
    if lora.r > width:
        raise SetupError(f"Got model.lora.r={lora.r}; expected at most {width}, the model's hidden size.")
    adapters = LoraConfig(
        r=lora.r,
        lora_alpha=cast(int, lora.alpha if lora.alpha is not None else 2 * lora.r),
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        return cast(PeftModel, get_peft_model(model, adapters))
    except Exception as error:
        raise SetupError(
            f"Got model.lora.target_modules={lora.target_modules!r}, with which no adapters can be added: "
            f"{_reason(error)} Set it to all-linear or a regular expression over module names."
        ) from error


def _loaded(name_or_path: str, what: str, load: Callable[[], T]) -> T:
    """What ``load`` returns; whatever it raises in one line."""
    try:
        return load()
    except SetupError:
        raise
    except Exception as error:  # libraries raise anything on a broken file: JSON, safetensors and template errors
        raise SetupError(
            f"The {what} of {name_or_path!r} cannot be loaded: {_reason(error)} Set --model to a Hugging Face folder, "
            "or the id of a hub model, that holds a causal LM."
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    return " ".join(lines[:2])[:300].rstrip(".") + "."


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:NAMES_SHOWN]) + (", ..." if len(ordered) > NAMES_SHOWN else "")
