"""From a chat to token ids: turns are data, and only the chat template writes control tokens."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rlsd_pl.types import Message

log = logging.getLogger(__name__)

PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content.strip() }}\n\n"
    "{% elif m.role == 'user' %}Question: {{ m.content.strip() }}\nAnswer:"
    "{% else %} {{ m.content.strip() }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
)
"""Chats as text, for models without a chat template of their own. An answer ends in EOS, so that examples show where to
end; the generation prompt is ``Answer:``."""


def write_plainly(name_or_path: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer :data:`PLAIN_TEMPLATE`, behind BOS where it begins a text with it, and warn."""
    log.warning(
        "The tokenizer of %r has no chat template: chats are written as plain text, Question: ... Answer: ... A model "
        "that was never trained on chats learns from examples where an answer ends: --task.few_shot N, or --objective "
        "sft first.",
        name_or_path,
    )
    bos = tokenizer.bos_token
    begins = bos is not None and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + PLAIN_TEMPLATE


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], template_kwargs: dict[str, Any] | None = None
) -> list[int]:
    """Chat to token ids, up to and with the generation prompt.

    A last turn of the assistant is begun and not ended: its text stands behind the generation prompt, whose ids it
    leaves as they are. What the turns hold is data and is encoded as text: a ``<|im_end|>`` in a problem does not end
    the turn, only the chat template writes control tokens.

    Raises:
        ValueError: if the chat template refuses the chat, or leaves out a system or user turn.
    """
    controls = _control_strings(tokenizer, len(tokenizer), str(tokenizer.chat_template))
    mark = next(c for c in map(chr, range(0xF0000, 0xFFFFE)) if not any(c in m["content"] for m in messages))
    chat = [{**m, "content": _broken(m["content"], controls, mark)} for m in messages]
    begun = str(chat.pop()["content"]) if chat[-1]["role"] == "assistant" else ""
    rendered = _rendered(tokenizer, chat, template_kwargs or {})
    first, *others = [*rendered.split(mark), *(begun.split(mark) if begun else [])]
    ids = tokenizer.encode(first, add_special_tokens=False)
    return [*ids, *(i for piece in others for i in _continuation(tokenizer, piece))]


def end_of_turn(tokenizer: PreTrainedTokenizerBase, template_kwargs: dict[str, Any] | None = None) -> int | None:
    """The control token that the chat template writes behind a turn of the assistant; ``None`` where it writes none.

    Base models of some families name another one as EOS.
    """
    reply = "The Elbe."
    chat = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": reply}]
    try:
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, **(template_kwargs or {}))
    except TemplateError:  # no turns of an assistant
        return None
    behind = cast(str, rendered).rpartition(reply)[2].lstrip()
    controls = _control_strings(tokenizer, len(tokenizer), str(tokenizer.chat_template))
    found = max((control for control in controls if behind.startswith(control)), key=len, default=None)
    return None if found is None else cast(int, tokenizer.convert_tokens_to_ids(found))


def _rendered(
    tokenizer: PreTrainedTokenizerBase, chat: Sequence[dict[str, str]], template_kwargs: dict[str, Any]
) -> str:
    roles = ", ".join(m["role"] for m in chat)
    try:
        rendered = tokenizer.apply_chat_template(
            list(chat), add_generation_prompt=True, tokenize=False, **template_kwargs
        )
    except TemplateError as error:
        raise ValueError(
            f"The model's chat template refuses a chat of the roles {roles}: {error}. Where it knows no system turn, "
            "set neither a system prompt nor context.place=system."
        ) from None
    for m in chat:
        if m["role"] in ("system", "user") and m["content"].strip() not in cast(str, rendered):
            raise ValueError(
                f"The model's chat template leaves out the {m['role']} turn of a chat of the roles {roles}: "
                f"{m['content'][:80]!r}. Use a model whose template shows it, or set context.place to another turn."
            )
    return cast(str, rendered)


@lru_cache(maxsize=8)
def _control_strings(tokenizer: PreTrainedTokenizerBase, size: int, chat_template: str) -> tuple[str, ...]:
    """What the tokenizer turns into control tokens: its special tokens, and other added ones that the chat template
    writes (``<think>``). Further added tokens, such as runs of blanks, are ordinary text.

    ``size`` and ``chat_template`` are the tokenizer's own; they tell a changed one.
    """
    added = tokenizer.added_tokens_decoder.values()
    return tuple(
        token.content
        for token in added
        if len(token.content.strip()) > 1 and (token.special or token.content in chat_template)
    )


def _broken(text: str, controls: Sequence[str], mark: str) -> str:
    """``text`` with a mark inside every control string, behind its first character."""
    starts = {
        m.start() for control in controls if control in text for m in re.finditer(f"(?={re.escape(control)})", text)
    }
    for start in sorted(starts, reverse=True):
        text = f"{text[: start + 1]}{mark}{text[start + 1 :]}"
    return text


def _continuation(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text that goes on behind another one: some tokenizers begin a text of its own with a blank."""
    if tokenizer.eos_token is None:
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(f"{tokenizer.eos_token}{text}", add_special_tokens=False)[1:]
