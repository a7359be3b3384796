"""A character-level tokenizer for the lab, as an ordinary Hugging Face fast tokenizer."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from rlsd_pl.lab.demonstrator import FILLER_SYMBOLS, HINT_SEPARATOR
from rlsd_pl.lab.world import DIGITS, OPERATORS

ASSISTANT_TOKEN = "<assistant>"
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", ASSISTANT_TOKEN)
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
CHARACTERS = DIGITS + OPERATORS + "=;#," + HINT_SEPARATOR + FILLER_SYMBOLS
VOCABULARY = (*SPECIAL_TOKENS, *CHARACTERS)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}" + ASSISTANT_TOKEN + "{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT_TOKEN + "{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character of the world, ``<unk>`` for any other; pads on the left, as generation needs."""
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=VOCABULARY[PAD_ID],
        bos_token=VOCABULARY[BOS_ID],
        eos_token=VOCABULARY[EOS_ID],
        unk_token="<unk>",
        extra_special_tokens=[ASSISTANT_TOKEN],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
