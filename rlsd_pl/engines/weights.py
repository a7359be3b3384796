"""A policy's weights for an engine that holds a copy of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rlsd_pl.policy import Policy

BASE = ".base_layer."
"""How PEFT names what an adapter was put around."""


class MergedWeights:
    """The causal LM's parameters one by one, adapters merged in copies: by the names that they have without adapters.

    Args:
        dtype: of what is given out; ``None`` for that of the parameters.
    """

    def __init__(self, policy: Policy, dtype: torch.dtype | None = None) -> None:
        self.policy, self.dtype = policy, dtype

    @torch.no_grad()
    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and detached tensors; what nothing was merged into or cast shares the policy's memory."""
        for name, parameter in self.policy.causal_lm.named_parameters():
            if not any(part.startswith("lora_") for part in name.split(".")):
                yield name.replace(BASE, "."), self._merged(name, parameter.detach()).to(self.dtype or parameter.dtype)

    def _merged(self, name: str, value: Tensor) -> Tensor:
        around, base, tensor = name.partition(BASE)
        if not base or tensor != "weight":
            return value
        layer = self.policy.causal_lm.get_submodule(around)
        for adapter in layer.active_adapters:  # type: ignore[union-attr]
            value = value + layer.get_delta_weight(adapter).to(value.dtype)  # type: ignore[operator]
        return value
