"""The policy: a Hugging Face causal LM, maybe with LoRA, seen from the generating and from the scoring side."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from rlsd_pl.chat import encode_chat, end_of_turn
from rlsd_pl.functional import DistributionTerm, token_scores
from rlsd_pl.head import OutputHead, TeacherStates
from rlsd_pl.models import Dtype, LoRA, check_vocabulary, load_model, load_tokenizer
from rlsd_pl.prefix import Prefix, can_share, distinct, passes_differ, recomputes_activations
from rlsd_pl.types import Message, PaddedTokens, TokenScores

R = TypeVar("R")


class Policy(nn.Module):
    """A causal LM that generates (through an engine) and scores completions.

    ``forward`` is the only place in the project where tokens are shifted against predictions.

    Args:
        model: a Hugging Face causal LM or a ``PeftModel`` around one.
        tokenizer: with a chat template.
        chat_template_kwargs: passed on to ``apply_chat_template``, for example ``{"enable_thinking": False}``.
        logit_chunk: most logits (tokens times vocabulary) in memory at once while scoring.

    Attributes:
        end_id: what ends a reply: the chat template's token for it, else EOS.
        stop_ids: what ends a completion: that token, and all that the model names as EOS.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        chat_template_kwargs: dict[str, Any] | None = None,
        logit_chunk: int = 2**24,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.chat_template_kwargs = chat_template_kwargs or {}
        self.logit_chunk = logit_chunk
        self.causal_lm = cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)
        self.logits = OutputHead(self.causal_lm)
        # A model's own sampling defaults (repetition penalty, top-k) would part sampled from scored distributions.
        self.published_generation_config = self.causal_lm.generation_config
        ends = end_of_turn(tokenizer, self.chat_template_kwargs)
        self.end_id = cast(int, tokenizer.eos_token_id if ends is None else ends)
        self.stop_ids = self._stop_ids()
        self.causal_lm.generation_config = GenerationConfig(
            eos_token_id=sorted(self.stop_ids), pad_token_id=tokenizer.pad_token_id
        )
        self.sharded = False
        self.caches_prompts = can_share(self.causal_lm.config)
        self._passes_differ = passes_differ(self.causal_lm)
        self._recomputes_activations = recomputes_activations(self.causal_lm)
        self.train()  # transformers load models in eval mode, in which adapters' dropout would stay off

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        tokenizer: PreTrainedTokenizerBase | None = None,
        lora: LoRA | None = None,
        dtype: Dtype = "float32",
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
        liger: bool = False,
        **kwargs: Any,
    ) -> Policy:
        """Load a causal LM from a folder or the hub; ``name_or_path="lab"`` is the lab's base policy."""
        model = load_model(name_or_path, lora, dtype, attn_implementation, gradient_checkpointing, liger)
        tokenizer = tokenizer or load_tokenizer(name_or_path, kwargs.get("chat_template_kwargs"))
        policy = cls(model, tokenizer, **kwargs)
        check_vocabulary(name_or_path, policy.causal_lm, tokenizer)
        return policy

    # --- scoring -----------------------------------------------------------------------------------------------------

    def forward(
        self,
        prompts: PaddedTokens,
        completions: PaddedTokens,
        temperature: float,
        divergence: DistributionTerm | None = None,
        teacher: TeacherStates | None = None,
        entropy_gradient: bool = False,
    ) -> TokenScores:
        """Score the sampled ids: log-probs, entropy and, if asked, a divergence from the teacher; each [B, T].

        Logits exist in chunks only, and only where ``completions.mask`` is set.
        """
        places, shape = completions.places, completions.ids.shape
        scores = token_scores(
            self._predicting_states(prompts, completions),
            self.logits,
            completions.ids.flatten()[places],
            temperature=temperature,
            chunk_elements=self.logit_chunk,
            divergence=None if teacher is None else divergence,
            entropy_gradient=entropy_gradient,
            teacher_hidden=None if teacher is None else teacher.hidden,
            teacher_head=None if teacher is None else teacher.head,
        )

        def unpack(values: Tensor) -> Tensor:
            return values.new_zeros(shape.numel()).index_copy(0, places, values).view(shape)

        return TokenScores(
            unpack(scores.logprobs),
            unpack(scores.entropy),
            None if scores.divergence is None else unpack(scores.divergence),
        )

    @torch.no_grad()
    def teacher_states(self, prompts: PaddedTokens, completions: PaddedTokens, own_head: bool) -> TeacherStates:
        """This model's side of a distribution term. ``own_head=False`` copies the head, for weights that go away."""
        with self.evaluating():  # a teacher without dropout
            hidden = self._predicting_states(prompts, completions)
        return TeacherStates(hidden, self.logits if own_head else self.logits.kept())

    def _predicting_states(self, prompts: PaddedTokens, completions: PaddedTokens) -> Tensor:
        """[N, H] hidden states that predict the N completion tokens under the mask, row by row."""
        return self._preceding_states(prompts, completions).flatten(0, 1).index_select(0, completions.places)

    def _preceding_states(self, prompts: PaddedTokens, completions: PaddedTokens) -> Tensor:
        """[B, T, H] hidden states at the token before each completion token."""
        if self.shares_prefixes(gradients=torch.is_grad_enabled()):
            different, rows = distinct(prompts)
            # Sharded, all processes have to call the layers equally often, whatever their prompts are.
            if self.sharded or len(different.ids) < len(rows):
                return self._continued(self.prefix(different), rows, completions)
        attention_mask = torch.cat([prompts.mask, completions.mask], dim=1)
        position_ids = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        hidden = self._decoder(
            input_ids=torch.cat([prompts.ids, completions.ids], dim=1),
            attention_mask=attention_mask.long(),
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        first = prompts.ids.shape[1] - 1
        return hidden[:, first : first + completions.ids.shape[1]]

    def shares_prefixes(self, gradients: bool) -> bool:
        """Whether a forward encodes equal prompts once.

        Not where passes over the same tokens differ, where transformers refuse a cache, or where a layer would be
        called twice before a sharded backward.
        """
        if not self.caches_prompts or (self.training and self._passes_differ):
            return False
        return not (gradients and (self.sharded or (self.training and self._recomputes_activations)))

    def _continued(self, prefix: Prefix, rows: Tensor, completions: PaddedTokens) -> Tensor:
        """[B, T, H] hidden states that predict each token of completions [B, T]."""
        prefix.take(rows)
        first = prefix.last[:, None]
        before = completions.ids.shape[1] - 1
        # The last token predicts none; sharded, it is encoded where there is no other, so that the layers are called.
        given = max(before, int(self.sharded))
        if not given:
            return first
        following = prefix.extend(PaddedTokens(completions.ids[:, :given], completions.mask[:, :given]))
        return torch.cat([first, following[:, :before]], dim=1)

    def prefix(self, prompts: PaddedTokens) -> Prefix:
        """Prompts in a key-value cache, to be continued."""
        return Prefix(self._decoder, self.causal_lm.config, prompts)

    @property
    def _decoder(self) -> nn.Module:
        return cast(nn.Module, self.causal_lm.get_decoder())

    # --- generating --------------------------------------------------------------------------------------------------

    def gathered(self, function: Callable[[], R]) -> R:
        """``function()`` with the root's weights in whole: FSDP gathers them around the methods of this module."""
        return function()

    # --- prompts -----------------------------------------------------------------------------------------------------

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Chat to prompt ids, up to and with the generation prompt; see :func:`encode_chat`."""
        return encode_chat(self.tokenizer, messages, self.chat_template_kwargs)

    @property
    def pad_id(self) -> int:
        return cast(int, self.tokenizer.pad_token_id)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out; for eyes and verifiers, never to be encoded again."""
        return cast(str, self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _stop_ids(self) -> frozenset[int]:
        published = getattr(self.causal_lm.generation_config, "eos_token_id", None)
        ids = published if isinstance(published, list) else [published]
        found = frozenset(i for i in [*ids, self.tokenizer.eos_token_id, self.end_id] if i is not None)
        if not found:
            raise ValueError(
                "Neither the tokenizer nor generation_config.json names an EOS token, so no completion could ever end. "
                "Set eos_token in tokenizer_config.json."
            )
        return found

    # --- weights -----------------------------------------------------------------------------------------------------

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    @property
    def has_adapters(self) -> bool:
        return isinstance(self.model, PeftModel)

    @contextlib.contextmanager
    def adapters_off(self) -> Iterator[None]:
        """The base model without its adapters: the initial policy under LoRA, at no copy."""
        if not isinstance(self.model, PeftModel):
            raise RuntimeError("adapters_off needs a policy with LoRA; got one that trains all weights.")
        with self.model.disable_adapter():
            yield

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout; back to the mode that was."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face folder. Adapters are merged, so that ``AutoModelForCausalLM`` loads it without peft.

        Raises:
            RuntimeError: on sharded weights; load the gathered weights into an unsharded policy and save that one.
        """
        if self.sharded:
            raise RuntimeError("save_pretrained needs whole weights; this process holds shards.")
        model = self.causal_lm
        if isinstance(self.model, PeftModel):
            model = cast(PreTrainedModel, copy.deepcopy(self.model).merge_and_unload())
        own, model.generation_config = model.generation_config, self.published_generation_config
        try:
            model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        finally:
            model.generation_config = own
