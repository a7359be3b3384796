"""The memory of a run by number of devices, worked out from sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.module import PolicyModule

MOST_DEVICES = 8

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the memory of a run follows from.

    Attributes:
        weights: bytes of all weights. trainable: bytes of those that are trained.
        optimizer: bytes of optimizer state per byte of a trained weight.
        teacher: bytes of copied weights. other_models: bytes of a teacher that is another model.
        layers, hidden, key_value: of the decoder; ``key_value`` is heads of keys times their width.
        layer, root: bytes of one decoder layer, and of what stands outside the layers.
        vocabulary: V. logit_chunk: most logits at once in scoring.
        width: bytes that activations and cache are computed in.
        mixed: weights are kept wider than computed with.
        checkpointing: activations are recomputed in the backward pass.
        positions: of the longest sequence, prompt and completion.
        micro_batch: completions per forward and backward.
        engine_batch: completions decoded at once.
        prompts, group: of a rollout, over all devices.
    """

    weights: float
    trainable: float
    optimizer: float
    teacher: float
    other_models: float
    layers: int
    hidden: int
    key_value: int
    layer: float
    root: float
    vocabulary: int
    logit_chunk: int
    width: int
    mixed: bool
    checkpointing: bool
    positions: int
    micro_batch: int
    engine_batch: int
    prompts: int
    group: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes per device.

    Attributes:
        weights: with a teacher's copies and other models.
        gathered: of sharded weights, what is whole at one time.
        activations: of one micro-batch, its logits included.
        cache: keys and values while completions are decoded, logits included.
    """

    devices: int
    sharded: bool
    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    cache: float

    @property
    def peak(self) -> float:
        """Sampling and updates take turns; gradients do not outlive an update."""
        held = self.weights + self.optimizer + self.gathered
        return held + max(self.gradients + self.activations, self.cache)


def memory(sizes: Sizes, devices: int = 1, sharded: bool = False) -> Memory:
    """Bytes per device for one setting.

    Replicated (DDP), every device holds weights, gradients and optimizer state whole, and gradients twice, because they
    are reduced in buckets (PyTorch's DistributedDataParallel). Sharded (FSDP2), each holds 1/N of the three, as in
    stage 3 of ZeRO (Rajbhandari et al., arXiv:1910.02054, section 5), and gathers the root and two layers at a time,
    the one at work and the one after it. Another model as the teacher is never sharded.
    """
    own = devices if sharded else 1
    copies = 2 if devices > 1 and not sharded else 1
    completions = -(-sizes.prompts // devices) * sizes.group
    return Memory(
        devices=devices,
        sharded=sharded,
        weights=(sizes.weights + sizes.teacher) / own + sizes.other_models,
        gradients=sizes.trainable / own * copies,
        optimizer=sizes.trainable * sizes.optimizer / own,
        gathered=sizes.root + 2 * sizes.layer if sharded else 0.0,
        activations=activations(sizes, min(sizes.micro_batch, completions)),
        cache=cache(sizes, min(sizes.engine_batch, completions)),
    )


def activations(sizes: Sizes, rows: int) -> float:
    """Bytes that a forward of ``rows`` sequences keeps for its backward.

    34 s b h bytes per layer in 16 bits, without the attention scores, which fused attention does not keep; with
    checkpointing 2 s b h per layer and one layer in full (Korthikanti et al., arXiv:2205.05198, sections 4.1 and 5).
    Derived for a GPT layer; a gated MLP needs up to a third more. Mixed precision adds a narrow copy of the weights.
    The logits of the scored tokens stand in chunks of at most ``logit_chunk``, in float32, three times: logits,
    log-probs, gradient.
    """
    tokens = sizes.positions * rows
    unit = tokens * sizes.hidden * sizes.width / 2
    layers = 2 * unit * sizes.layers + 34 * unit if sizes.checkpointing else 34 * unit * sizes.layers
    narrow = sizes.trainable / 2 if sizes.mixed else 0.0
    return layers + narrow + 3 * 4 * min(sizes.logit_chunk, tokens * sizes.vocabulary)


def cache(sizes: Sizes, rows: int) -> float:
    """Bytes of keys and values of ``rows`` whole sequences, and of one step's logits in float32, twice.

    2 layers x key-value heads x head width x positions each (Shazeer, arXiv:1911.02150, section 2.4.1; grouped heads:
    Ainslie et al., arXiv:2305.13245).
    """
    kept = 2 * sizes.layers * sizes.key_value * sizes.positions * rows * sizes.width
    return kept + 2 * 4 * rows * sizes.vocabulary


def memory_plan(sizes: Sizes) -> list[Memory]:
    """For every number of devices up to 8 that the prompts of a rollout divide into, replicated and sharded."""
    counts = [n for n in range(1, MOST_DEVICES + 1) if sizes.prompts % n == 0]
    return [memory(sizes, n, sharded) for n in counts for sharded in ((False, True) if n > 1 else (False,))]


def sizes_of(trainer: Trainer, module: PolicyModule, data: RolloutDataModule, prompt_tokens: int) -> Sizes:
    """Of the run at hand.

    Args:
        prompt_tokens: of the longest prompt.
    """
    policy, config = module.policy, module.policy.causal_lm.config.get_text_config()
    layers = [_bytes(layer) for layer in policy.causal_lm.get_decoder().layers]  # type: ignore[union-attr]
    weights, trainable = _bytes(policy), sum(map(_size, policy.trainable().values()))
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    mixed = "mixed" in str(trainer.precision)
    teachers = [each for each in (module.teacher, module.reference) if each is not None]
    return Sizes(
        weights=weights,
        trainable=trainable,
        optimizer=optimizer_factor(module.make_optimizer, next(iter(policy.trainable().values())).dtype),
        teacher=sum(map(_bytes, teachers)),
        other_models=sum(_bytes(model) for each in teachers for model in getattr(each, "_model", [])),
        layers=len(layers),
        hidden=config.hidden_size,
        key_value=heads * head_width,
        layer=max(layers),
        root=weights - sum(layers),
        vocabulary=config.vocab_size,
        logit_chunk=policy.logit_chunk,
        width=2 if mixed else next(policy.parameters()).element_size(),
        mixed=mixed,
        checkpointing=module.gradient_checkpointing,
        positions=prompt_tokens + data.sampling.max_tokens,
        micro_batch=data.micro_batch_size,
        engine_batch=getattr(data.engine, "batch_size", data.prompts_per_rollout * data.sampling.completions),
        prompts=data.prompts_per_rollout,
        group=data.sampling.completions,
    )


def optimizer_factor(make_optimizer: OptimizerCallable, dtype: torch.dtype) -> float:
    """Bytes of state per byte of weight, by a step on a weight that nothing uses: 2 for Adam, 0 for plain SGD."""
    weight = nn.Parameter(torch.zeros(32, 32, dtype=dtype))
    weight.grad = torch.zeros_like(weight)
    optimizer = make_optimizer([weight])
    optimizer.step()
    state = [value for kept in optimizer.state.values() for value in kept.values() if isinstance(value, torch.Tensor)]
    return sum(_size(value) for value in state if value.ndim) / _size(weight)


def _bytes(module: nn.Module) -> int:
    return sum(map(_size, module.parameters()))


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def human(size: float) -> str:
    """Bytes in GiB, small ones in MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
