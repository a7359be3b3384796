"""Liger kernels in place of a model's norms, gated layers and rotary embeddings."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from rlsd_pl.errors import SetupError

INSTALL = "pip install 'rlsd_pl[liger]'"


def use_liger(model: PreTrainedModel) -> None:
    """Patch the model in place through transformers' integration; weights and their names stay what they are.

    Losses are left alone: Liger's fuse the head with a loss whose gradient per token has to be known in the forward,
    where an objective here sees the log-probs first. Rotary embeddings are exchanged for the whole process.

    Raises:
        SetupError: without the package, without a CUDA device, or for an architecture that Liger has no kernels for,
            which it would pass over in silence.
    """
    from transformers.integrations import liger

    if not liger.is_liger_kernel_available():
        raise SetupError(f"Got model.liger=true and liger-kernel is not installed. {INSTALL}, or leave the flag out.")
    if not torch.cuda.is_available():
        raise SetupError("Got model.liger=true without a CUDA device; Liger's kernels run on GPUs. Leave the flag out.")
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as KNOWN  # pyright: ignore

    kind = model.config.model_type
    if kind not in KNOWN:
        raise SetupError(
            f"Got model.liger=true for a {kind} model; expected one of {', '.join(sorted(KNOWN))}. Leave the flag out."
        )
    liger.apply_liger_kernel(model, {"fused_linear_cross_entropy": False, "cross_entropy": False})
