"""From final hidden states to logits, as the model's own forward does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlsd_pl.errors import SetupError

SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")
"""Settings of architectures that scale their logits; some multiply by them (Cohere), some divide (Granite)."""

TOLERANCE = 0.02
"""Largest difference between logits that are taken for the same, of the largest logit: a little above the rounding of
bfloat16."""


@dataclass(frozen=True)
class TeacherStates:
    """The teacher's side of a distribution term, for one batch.

    Attributes:
        hidden: [N, H] final hidden states at the N predicted completion tokens, in the order of the student's.
        head: maps [n, H] to logits [n, V] with the teacher's weights.
    """

    hidden: Tensor
    head: Callable[[Tensor], Tensor]


class OutputHead:
    """[n, H] final hidden states to [n, V] logits: the model's last layer, its scale and its soft cap.

    The scale is found by comparison with the model's own forward, behind hidden states drawn at random; no decoder
    layer is called for it.

    Raises:
        SetupError: if no scale that the configuration names gives the model's logits.
    """

    def __init__(self, causal_lm: PreTrainedModel) -> None:
        self._causal_lm = causal_lm
        self._cap = getattr(causal_lm.config.get_text_config(), "final_logit_softcapping", None)
        self._size: int | None = None
        self._scale = self._found_scale()

    def __call__(self, hidden: Tensor) -> Tensor:
        return self._shaped(self._layer(hidden), self._scale)

    def kept(self) -> Callable[[Tensor], Tensor]:
        """The same with the weights of now, for when they go away; no copy of weights that are not trained."""
        layer = self._layer
        if not isinstance(layer, LoraLayer) and not any(parameter.requires_grad for parameter in layer.parameters()):
            return self
        weight, bias = _weights(layer)
        return lambda hidden: self._shaped(nn.functional.linear(hidden, weight, bias), self._scale)

    @property
    def _layer(self) -> nn.Linear:
        return cast(nn.Linear, self._causal_lm.get_output_embeddings())

    @property
    def size(self) -> int:
        """V, rows of the output layer: the tokenizer's and, in some models, a padding that stands for no token."""
        return self._layer.weight.shape[0]

    def cut(self, size: int) -> None:
        """Leave out the logits from ``size`` on."""
        self._size = size

    def _shaped(self, logits: Tensor, scale: float) -> Tensor:
        logits = logits if self._size is None else logits[..., : self._size]
        logits = logits if scale == 1 else logits * scale
        return logits if self._cap is None else torch.tanh(logits / self._cap) * self._cap

    @torch.no_grad()
    def _found_scale(self) -> float:
        weight = self._layer.weight
        drawn = torch.randn(1, 2, weight.shape[1], generator=torch.Generator().manual_seed(0))
        hidden = drawn.to(weight)
        with _decoding_to(self._causal_lm, hidden):
            expected = self._causal_lm(input_ids=torch.zeros(1, 2, dtype=torch.long, device=weight.device)).logits
        config = self._causal_lm.config.get_text_config()
        named = {key: float(value) for key in SCALES if (value := getattr(config, key, None))}
        logits = self._layer(hidden)
        scales = (1.0, *(scale for value in named.values() for scale in (value, 1 / value)))
        differences = [float((self._shaped(logits, scale) - expected).abs().max()) for scale in scales]
        least = min(differences)
        if not least > TOLERANCE * float(expected.abs().max()):
            return scales[differences.index(least)]
        raise SetupError(
            f"The logits of {config.model_type} are not its output layer on the final hidden states, with a scale of "
            f"config.json (got {named or 'none'}; known are {', '.join(SCALES)}) and final_logit_softcapping, so its "
            "completions could not be scored. Set --model to another architecture."
        )


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """A copy of a linear layer's weight and bias, with what its adapters add as they are now."""
    base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    weight = cast(Tensor, base.weight).detach().clone()
    bias = None if base.bias is None else cast(Tensor, base.bias).detach().clone()
    if isinstance(layer, LoraLayer) and not layer.disable_adapters:
        for name in layer.active_adapters:
            weight += cast(Any, layer).get_delta_weight(name).detach()
    return weight, bias


@contextmanager
def _decoding_to(causal_lm: PreTrainedModel, hidden: Tensor) -> Iterator[None]:
    """Within, the decoder's layers are passed over and these are its final hidden states."""
    decoder = cast(nn.Module, causal_lm.get_decoder())
    own = vars(decoder).get("forward")
    decoder.forward = lambda *args, **kwargs: _Decoded(last_hidden_state=hidden)
    try:
        yield
    finally:
        del decoder.forward
        if own is not None:
            decoder.forward = own


class _Decoded(SimpleNamespace):
    """What a decoder returns, by name or as a tuple, with nothing but its final hidden states."""

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, place: Any) -> Any:
        return (self.last_hidden_state,)[place]
