"""Low-rank adapters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from rlsd_pl.errors import SetupError
from rlsd_pl.models.folder import reason


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters on the policy (peft).

    Attributes:
        r: rank; 0 trains all weights.
        alpha: scale numerator; ``None`` means ``2 * r``.
        dropout: on the adapters' input.
        target_modules: ``all-linear`` or a regular expression over module names.

    Raises:
        SetupError: for a negative rank, a scale that is not positive and finite, or a dropout outside [0, 1).
    """

    r: int = 0
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: str = "all-linear"

    def __post_init__(self) -> None:
        if self.r < 0:
            raise SetupError(f"Got model.lora.r={self.r}; expected a rank of at least 1, or 0 to train all weights.")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise SetupError(
                f"Got model.lora.alpha={self.alpha}; expected a finite number above 0: the adapters are scaled by "
                "alpha / r. Leave it out for 2 * r."
            )
        if not 0 <= self.dropout < 1:
            raise SetupError(f"Got model.lora.dropout={self.dropout}; expected a share in [0, 1), for example 0.05.")


def with_adapters(model: PreTrainedModel, lora: LoRA) -> PeftModel:
    width = model.config.get_text_config().hidden_size
    if lora.r > width:
        raise SetupError(f"Got model.lora.r={lora.r}; expected at most {width}, the model's hidden size.")
    adapters = LoraConfig(
        r=lora.r,
        lora_alpha=cast(int, lora.alpha if lora.alpha is not None else 2 * lora.r),
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        return cast(PeftModel, get_peft_model(model, adapters))
    except Exception as error:
        raise SetupError(
            f"Got model.lora.target_modules={lora.target_modules!r}, with which no adapters can be added: "
            f"{reason(error)} Set it to all-linear or a regular expression over module names."
        ) from error
