"""Prompts that several completions share, encoded once."""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from rlsd_pl.types import PaddedTokens


def distinct(prompts: PaddedTokens) -> tuple[PaddedTokens, Tensor]:
    """The different ones among prompts [B, L], and int64 [B]: which of them each row is."""
    first, rows = prompts.different
    return PaddedTokens(prompts.ids[first], prompts.mask[first]), rows


def can_share(config: PreTrainedConfig) -> bool:
    """Whether all that a model remembers of a prompt is keys and values by position, which rows can be taken of.

    State-space and linear-attention layers remember something else; such models take the plain path.
    """
    return all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=config).layers)


def passes_differ(model: nn.Module) -> bool:
    """Whether dropout makes two training passes over the same tokens differ."""
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    rates += [getattr(module, "attention_dropout", 0.0) for module in model.modules()]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def recomputes_activations(model: nn.Module) -> bool:
    """Whether gradient checkpointing is on: transformers then refuses a cache in training passes."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


class BufferedLayer(DynamicLayer):
    """Keys and values in a buffer with room to grow: transformers' layer copies all of them for each new token."""

    room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append [B, heads, t, size]; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        keys, values = cast(Tensor, self.keys), cast(Tensor, self.values)
        start = keys.shape[-2]
        end = start + key_states.shape[-2]
        if self.room is None or self.room[0].shape[-2] < end:
            self.room = _with_room(keys, 2 * end), _with_room(values, 2 * end)
        keys, values = (buffer[:, :, :end] for buffer in self.room)
        keys[:, :, start:], values[:, :, start:] = key_states, value_states
        self.keys, self.values = keys, values
        return keys, values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only."""
        super().batch_select_indices(indices)
        self.room = None


def _with_room(states: Tensor, length: int) -> Tensor:
    buffer = states.new_empty(*states.shape[:2], length, states.shape[-1])
    buffer[:, :, : states.shape[-2]] = states
    return buffer


class Prefix:
    """Left-padded prompts in the key-value cache of a decoder, to be continued.

    Made of transformers' own cache, so whatever attention the model has applies. Differentiable.

    Args:
        decoder: a transformers decoder: ids and a cache to final hidden states.
        config: of its model.
        prompts: [P, L].

    Attributes:
        mask: bool [B, L + tokens so far], True at real tokens; B = P until :meth:`take`.
        last: [B, H] hidden state at the last token, which predicts the next one.
    """

    def __init__(self, decoder: nn.Module, config: PreTrainedConfig, prompts: PaddedTokens) -> None:
        self._decoder = decoder
        self._cache = DynamicCache(config=config)
        if not torch.is_grad_enabled():
            buffered = [BufferedLayer() if type(layer) is DynamicLayer else layer for layer in self._cache.layers]
            self._cache.layers = buffered
        self._cache_argument = "cache" if "cache" in inspect.signature(decoder.forward).parameters else _OLD_ARGUMENT
        self.mask = prompts.mask[:, :0]
        self._lengths = torch.zeros_like(prompts.ids[:, 0])
        self.last = self.extend(prompts)[:, -1]

    def extend(self, tokens: PaddedTokens) -> Tensor:
        """Hidden states [B, t, H] of the next t tokens of each row."""
        self.mask = torch.cat([self.mask, tokens.mask], dim=1)
        positions = self._lengths[:, None] + tokens.mask.long().cumsum(dim=1) - 1
        self._lengths = self._lengths + tokens.mask.sum(dim=1)
        arguments: dict[str, Any] = {self._cache_argument: self._cache}
        return self._decoder(
            input_ids=tokens.ids,
            attention_mask=self.mask.long(),
            position_ids=positions.clamp(min=0),
            use_cache=True,
            **arguments,
        ).last_hidden_state

    def take(self, rows: Tensor) -> None:
        """Go on with these rows; the same one several times for several continuations.

        Args:
            rows: int64 [B'], indices of the rows so far.
        """
        self._cache.batch_select_indices(rows)
        self.mask, self._lengths, self.last = self.mask[rows], self._lengths[rows], self.last[rows]


_OLD_ARGUMENT = "past_key_values"
