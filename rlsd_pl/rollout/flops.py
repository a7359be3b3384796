"""Model FLOPs of an iteration, and how much of a GPU's peak they use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from rlsd_pl.policy import Policy
from rlsd_pl.rollout.micro_batches import RowLengths
from rlsd_pl.types import RolloutBatch

PEAK_FLOPS = {
    "A100": 312e12,
    "A40": 149.7e12,
    "RTX A6000": 154.8e12,
    "GeForce RTX 3090": 71e12,
    "GeForce RTX 4090": 165.2e12,
    "GeForce RTX 5090": 209.5e12,
    "RTX 6000 Ada Generation": 364.2e12,
    "L4": 121e12,
    "L40": 181e12,
    "L40S": 362e12,
    "H100": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "GH200": 989.4e12,
    "H200": 989.4e12,
    "H200 NVL": 835e12,
    "B200": 2250e12,
}
"""Peak FLOP/s by the name that CUDA gives a device, bfloat16 on tensor cores with float32 sums, without sparsity.

Source: NVIDIA's datasheets and architecture whitepapers of each product; datasheets print twice the number, "with
sparsity". Lightning's table (``lightning.fabric.utilities.throughput``) is not used: it has the number with sparsity
for the H200 and the H100 NVL, and that without tensor cores for the RTX 4090.
"""

MEMORY = r"(-(SXM|PCIE)\d?)?(-\d+GB)?( \d+GB)?( HBM\w+)?( PCIe)?"
"""What stands behind a product's name without being another product."""


def peak_flops(device_name: str) -> float | None:
    """Peak of a device in FLOP/s; ``None`` where it is not known, as for a slice of a device (MIG) or a laptop's chip.

    >>> peak_flops("NVIDIA A100-SXM4-80GB"), peak_flops("NVIDIA H100 PCIe"), peak_flops("NVIDIA GeForce RTX 4090 D")
    (312000000000000.0, 756000000000000.0, None)
    """
    for product in sorted(PEAK_FLOPS, key=len, reverse=True):
        if re.fullmatch(rf"NVIDIA {product}{MEMORY}", device_name):
            return PEAK_FLOPS[product]
    return None


@dataclass(frozen=True)
class ModelFlops:
    """Floating-point operations that a model's forward takes, whoever computes it and however well.

    2 per weight of a matrix and token, and in attention 4 per query, key and element of a head. A prompt counts once
    for all completions that share it; the head sees completion tokens alone. What is left out: padding, activations
    that are recomputed, norms and softmax. Sliding windows count as whole. Source: PaLM, arXiv:2204.02311, appendix B.

    Attributes:
        body: weights of the layers' matrices.
        head: weights of the head.
        attention: layers x heads x size of a head.
        trained: share of the matrices' weights that is trained.
    """

    body: int
    head: int
    attention: int
    trained: float = 1.0

    @classmethod
    def of(cls, policy: Policy) -> Self | None:
        """``None`` for a mixture of experts, of which each token takes a part that depends on the router."""
        config: Any = policy.causal_lm.config.get_text_config()
        if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
            return None
        decoder: Any = policy.causal_lm.get_decoder()
        matrices = [p for p in decoder.parameters() if p.dim() == 2]
        inputs: Any = policy.causal_lm.get_input_embeddings()
        outputs: Any = policy.causal_lm.get_output_embeddings()
        embedded, head = inputs.weight, outputs.weight
        body = sum(p.numel() for p in matrices if p is not embedded)
        trained = sum(p.numel() for p in matrices if p is not embedded and p.requires_grad)
        trained += head.numel() if head.requires_grad else 0
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        attention = config.num_hidden_layers * config.num_attention_heads * size
        return cls(body, head.numel(), attention, trained / (body + head.numel()))

    def forward(self, lengths: RowLengths) -> float:
        """Of one pass over these rows."""
        return self._matrices(lengths) + self._attention(lengths)

    def update(self, lengths: RowLengths) -> float:
        """Of a forward and a backward: as much again for activations, and as much again for the trained weights."""
        return (2 + self.trained) * self._matrices(lengths) + 3 * self._attention(lengths)

    def _matrices(self, lengths: RowLengths) -> float:
        completions = float(lengths.completions.sum())
        prompts = float(sum(lengths.prompt_lengths().values()))
        return 2 * self.body * (prompts + completions) + 2 * self.head * completions

    def _attention(self, lengths: RowLengths) -> float:
        """A token attends to itself and to all before it."""
        prompt, completion = lengths.prompts.double(), lengths.completions.double()
        pairs = sum(length * (length + 1) / 2 for length in lengths.prompt_lengths().values())
        pairs += float((completion * prompt + completion * (completion + 1) / 2).sum())
        return 4 * self.attention * pairs


Passes = Sequence[tuple[Policy, RowLengths]]
"""Forwards without gradient: the model, and the rows."""


def iteration_flops(policy: Policy, batch: RolloutBatch, replaced: int, passes: Passes) -> float | None:
    """Of sampling, update and the forwards of teachers; ``None`` where a model's are not known.

    Args:
        replaced: completions that were sampled in vain; they count as the mean of the others.
    """
    own = RowLengths.of(batch.prompts, batch.completions, shared=True)
    student = ModelFlops.of(policy)
    teachers = [(ModelFlops.of(model), lengths) for model, lengths in passes]
    if student is None or any(model is None for model, _ in teachers):
        return None
    scoring = sum(model.forward(lengths) for model, lengths in teachers if model is not None)
    return student.forward(own) * (1 + replaced / len(batch)) + student.update(own) + scoring
