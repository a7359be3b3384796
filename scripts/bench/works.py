"""What the benchmarks run: models, prompts and sizes that both sides of a comparison share."""

from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rlsd_pl.lab import BASE_FOLDER, ChainTask
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers import Verifier

TEMPLATE = (
    "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + ' [end] ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


@dataclass(frozen=True)
class Work:
    """One iteration: P prompts of L words, G completions of T tokens each.

    Attributes:
        shape: of a Qwen3 with random weights and a large vocabulary, which hardly ever draws EOS; ``None`` for the
            lab's base policy on the lab's problems.
    """

    name: str
    shape: dict[str, Any] | None
    prompts: int
    group: int
    prompt_words: int
    completion: int


WORKS = {
    work.name: work
    for work in (
        Work("lab", None, prompts=8, group=8, prompt_words=0, completion=66),
        Work(
            "28m",
            {
                "vocab_size": 49_152,
                "hidden_size": 384,
                "intermediate_size": 1024,
                "num_hidden_layers": 6,
                "num_attention_heads": 6,
                "num_key_value_heads": 2,
                "head_dim": 64,
            },
            prompts=4,
            group=8,
            prompt_words=57,
            completion=48,
        ),
        Work(
            "0.6b",
            {
                "vocab_size": 151_936,
                "hidden_size": 1024,
                "intermediate_size": 3072,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
            },
            prompts=64,
            group=8,
            prompt_words=125,
            completion=512,
        ),
    )
}

WORDS = [f"w{i}" for i in range(16)]


def prompt_texts(work: Work, count: int) -> list[str]:
    """Seeded prompts of the work's length."""
    if work.shape is None:
        return [ChainTask().problem("train", index).prompt for index in range(count)]
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=work.prompt_words)) for _ in range(count)]


def write_model(work: Work, folder: Path) -> Path:
    """A Hugging Face folder: random weights, and a tokenizer of words with a chat template."""
    if work.shape is None:
        shutil.copytree(BASE_FOLDER, folder, dirs_exist_ok=True)
        return folder
    special = ["[pad]", "[eos]", "[unk]", "[user]", "[assistant]", "[end]"]
    words = special + WORDS + [f"x{i}" for i in range(work.shape["vocab_size"] - len(special) - len(WORDS))]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[unk]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[pad]", eos_token="[eos]", unk_token="[unk]", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        **work.shape,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        pad_token_id=words.index("[pad]"),
        eos_token_id=words.index("[eos]"),
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Prompts(Task):
    """The work's prompts as problems."""

    name = "bench"

    def __init__(self, work: Work) -> None:
        self.texts = prompt_texts(work, 64)

    def size(self, split: Split) -> int | None:
        return len(self.texts)

    def problem(self, split: Split, index: int) -> Problem:
        messages = [{"role": "user", "content": self.texts[index]}]
        return Problem(f"bench/{index}", messages, privileged={"solution": "w0"})


def text_reward(text: str) -> float:
    """Of any text, cheap, and hardly ever equal for all of a group."""
    return (zlib.crc32(text.encode()) % 97) / 96.0


class TextVerifier(Verifier):
    """:func:`text_reward` as a verdict."""

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [Verdict(text_reward(text), Status.PASS) for text in texts]
