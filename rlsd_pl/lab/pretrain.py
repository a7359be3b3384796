"""Pre-trains the lab's base policy: plain next-token prediction on the completions of demonstrations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from transformers import (
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
    get_cosine_schedule_with_warmup,
)

from rlsd_pl.lab.card import render_card
from rlsd_pl.lab.demonstrator import Demonstrator
from rlsd_pl.lab.measure import Measurement, measure_all
from rlsd_pl.lab.task import ChainTask
from rlsd_pl.lab.tokenizer import BOS_ID, EOS_ID, PAD_ID, VOCABULARY, build_tokenizer
from rlsd_pl.models import resolve

IGNORED_LABEL = -100
"""Label of positions without a loss, as torch and transformers define it."""

SPARE_TOKENS = 14
"""Tokens that a completion may have beyond a worked demonstration's."""

Example = dict[str, Tensor]


@dataclass(frozen=True)
class ModelSize:
    """Size of the Qwen3 policy; the defaults make about 252 thousand parameters."""

    layers: int = 3
    width: int = 96
    heads: int = 4
    mlp_width: int = 160


@dataclass(frozen=True)
class TrainingPlan:
    """Length and optimizer of pre-training; ``batch_size`` counts sequences, ``warmup_steps`` optimizer steps."""

    steps: int = 1500
    batch_size: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 50


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that determines a base policy, and where it goes.

    Attributes:
        output: folder for the model, its tokenizer and its card.
        demonstrator: who writes the demonstrations, and the world that is held half wrong.
        start: the policy to go on from, as ``--model`` names it; ``None`` starts from random weights.
        size: size of the policy; that of ``start`` where there is one.
        plan: length and optimizer.
        seed: of the initial weights and of the demonstrations.
        eval_problems: held-out problems on which the card's figures are measured.
    """

    output: Path
    demonstrator: Demonstrator = field(default_factory=Demonstrator)
    start: str | None = None
    size: ModelSize = field(default_factory=ModelSize)
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    seed: int = 0
    eval_problems: int = 1024


def make_base(config: PretrainConfig) -> list[Measurement]:
    """Pre-train a base policy, measure it, and write it with tokenizer and model card to ``config.output``."""
    tokenizer = build_tokenizer()
    model = pretrain(config, tokenizer)
    task = ChainTask(config.demonstrator.world, val_size=config.eval_problems)
    problems = [task.problem("val", index) for index in range(config.eval_problems)]
    torch.manual_seed(config.seed)
    room = config.demonstrator.completion_tokens + SPARE_TOKENS
    measurements = measure_all(model, tokenizer, problems, room, hinted=config.demonstrator.hinted_share > 0)
    model.save_pretrained(config.output)
    tokenizer.save_pretrained(config.output)
    (config.output / "README.md").write_text(
        render_card(_settings(config), _settings(PretrainConfig(config.output)), measurements), encoding="utf-8"
    )
    return measurements


def _settings(config: PretrainConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name != "output"}


class DemonstrationDataset(Dataset[Example]):
    """Tokenized demonstrations of training problems; item ``i`` depends on ``(seed, i)`` alone.

    An item holds ``input_ids`` and ``labels``, both [T] with T the tokens of prompt, completion and EOS; the prompt's
    labels are ignored.
    """

    def __init__(
        self, demonstrator: Demonstrator, tokenizer: PreTrainedTokenizerBase, length: int, seed: int = 0
    ) -> None:
        self.demonstrator = demonstrator
        self.tokenizer = tokenizer
        self.length = length
        self.seed = seed
        # Another stream than RL's default seed: the base should not have seen RL's very problems.
        self.task = ChainTask(demonstrator.world, seed=-1 - seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        rng = random.Random(f"demonstration/{self.seed}/{index}")
        demonstration = self.demonstrator.demonstrate(self.task.problem("train", index).prompt, rng)
        prompt_ids = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": demonstration.prompt}], add_generation_prompt=True, return_dict=False
        )
        completion_ids = [*self.tokenizer(demonstration.completion).input_ids, EOS_ID]
        return {
            "input_ids": torch.tensor([*prompt_ids, *completion_ids]),
            "labels": torch.tensor([*(IGNORED_LABEL for _ in prompt_ids), *completion_ids]),
        }


class PretrainModule(LightningModule):
    """Cross-entropy on completion tokens, AdamW, linear warm-up and cosine decay."""

    def __init__(self, model: Qwen3ForCausalLM, plan: TrainingPlan) -> None:
        super().__init__()
        self.model = model
        self.plan = plan

    def training_step(self, batch: Example, batch_idx: int) -> Tensor:
        loss = self.model(**batch).loss
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.plan.learning_rate, weight_decay=self.plan.weight_decay
        )
        scheduler = get_cosine_schedule_with_warmup(optimizer, self.plan.warmup_steps, self.plan.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def build_model(size: ModelSize, positions: int = 256) -> Qwen3ForCausalLM:
    """A randomly initialised Qwen3 over the lab's vocabulary, for sequences of at least ``positions`` tokens."""
    config = Qwen3Config(
        vocab_size=len(VOCABULARY),
        hidden_size=size.width,
        intermediate_size=size.mlp_width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.width // size.heads,
        max_position_embeddings=max(256, positions),
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    return Qwen3ForCausalLM(config)


def load_model(start: str, positions: int = 256) -> Qwen3ForCausalLM:
    """The policy to go on from; rotary positions take longer sequences than it was made for, once it has seen some."""
    model = Qwen3ForCausalLM.from_pretrained(resolve(start))
    model.config.max_position_embeddings = max(model.config.max_position_embeddings, positions)
    return model


def sequence_tokens(demonstrator: Demonstrator) -> int:
    """Room for hint, expression and completion of one problem with the special tokens around them."""
    return 4 * demonstrator.world.operands + demonstrator.completion_tokens + SPARE_TOKENS


def pretrain(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """Train a base policy on the CPU; from scratch about a quarter of an hour on one core with the defaults."""
    seed_everything(config.seed, verbose=False)
    plan = config.plan
    dataset = DemonstrationDataset(config.demonstrator, tokenizer, plan.steps * plan.batch_size, config.seed)
    loader = DataLoader(dataset, batch_size=plan.batch_size, collate_fn=_collate)
    positions = sequence_tokens(config.demonstrator)
    model = build_model(config.size, positions) if config.start is None else load_model(config.start, positions)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[RichProgressBar()],
    )
    trainer.fit(PretrainModule(model, plan), loader)
    return model.eval()


def _collate(examples: Sequence[Example]) -> Example:
    """Right-pads examples to the longest."""
    input_ids = [example["input_ids"] for example in examples]
    labels = [example["labels"] for example in examples]
    return {
        "input_ids": pad_sequence(input_ids, batch_first=True, padding_value=PAD_ID),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL),
        "attention_mask": pad_sequence([torch.ones_like(ids) for ids in input_ids], batch_first=True),
    }
