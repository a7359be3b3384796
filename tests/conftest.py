"""What the tests share: a tiny random model with a real tokenizer, and rows of real problems."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parents[1]
GSM8K = REPOSITORY.parent / "shared" / "data" / "gsm8k_test_part.jsonl"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# Written for these tests; they stand in where the real rows are absent.
WORD_PROBLEMS = [
    ("A crate holds 12 jars and a van takes 9 crates. How many jars fit into the van?", "12 * 9 = 108", "108"),
    ("Mira reads 14 pages a day. How many days does she need for 182 pages?", "182 / 14 = 13", "13"),
    ("A pond loses 3 litres an hour. How much is left of 50 litres after 7 hours?", "3 * 7 = 21, 50 - 21 = 29", "29"),
    ("Two ferries carry 85 and 96 people. How many people is that?", "85 + 96 = 181", "181"),
    ("A rope of 4 metres is cut into pieces of 16 cm. How many pieces are there?", "400 / 16 = 25", "25"),
    ("Tickets cost 7 euro. What do 23 tickets cost?", "7 * 23 = 161", "161"),
    ("A baker makes 6 trays of 18 rolls and sells 71. How many rolls are left?", "6 * 18 = 108, 108 - 71 = 37", "37"),
    ("Half of 46 birds fly away, then 5 come back. How many birds are there?", "46 / 2 = 23, 23 + 5 = 28", "28"),
    ("A clock strikes 4 times an hour. How often does it strike in a day?", "4 * 24 = 96", "96"),
    ("Nine friends share 117 cards evenly. How many does each get?", "117 / 9 = 13", "13"),
    ("A tank of 60 litres is 35 % full. How many litres are in it?", "60 * 0.35 = 21", "21"),
    ("A train runs 240 km in 3 hours. How far does it run in 5 hours?", "240 / 3 = 80, 80 * 5 = 400", "400"),
]


@pytest.fixture(scope="session")
def problem_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file with the columns question, answer (worked solution, ``#### final``): GSM8K rows or stand-ins."""
    path = tmp_path_factory.mktemp("data") / "problems.jsonl"
    if GSM8K.exists():
        rows = GSM8K.read_text().splitlines()[:40]
    else:
        rows = [json.dumps({"question": q, "answer": f"{s}\n#### {a}"}) for q, s, a in WORD_PROBLEMS]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen3 with a byte-level BPE tokenizer and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(row) for row in WORD_PROBLEMS], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", chat_template=CHAT_TEMPLATE
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
        )
    )
    folder = tmp_path_factory.mktemp("tiny-qwen3")
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def policy(tiny_model: Path):
    """A fresh policy around the tiny model."""
    from rlsd_pl.policy import Policy

    return Policy.from_pretrained(str(tiny_model))
