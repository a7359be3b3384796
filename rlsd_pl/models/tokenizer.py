"""Tokenizers that can write a chat, end a completion and pad a batch."""

from __future__ import annotations

import contextlib
from typing import Any, cast

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from rlsd_pl.chat import write_plainly
from rlsd_pl.errors import SetupError
from rlsd_pl.models.folder import load_config, loaded, resolve


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
    tokenizer = loaded(name_or_path, "tokenizer", lambda: AutoTokenizer.from_pretrained(path, trust_remote_code=False))
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

    if loaded(name_or_path, "chat template", lambda: render("Name a river.")) == render("Add 7 and 5."):
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
