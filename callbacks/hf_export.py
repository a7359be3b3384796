"""The trained policy as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.module import PolicyModule
from rlsd_pl.persistence.storage import replace_folder
from rlsd_pl.policy import Policy


class HuggingFaceExport(Callback):
    """Writes ``hf/`` in the run folder when training ends; ``AutoModelForCausalLM.from_pretrained`` loads it.

    Adapters are merged; shards are gathered.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export."""
        assert isinstance(pl_module, PolicyModule)
        policy = pl_module.policy
        if not policy.sharded:
            if trainer.is_global_zero:
                _export(policy, trainer)
            return
        # Gathering is collective: every process takes part, the first one writes.
        weights = {name: _gathered(p) for name, p in policy.trainable().items()}
        if trainer.is_global_zero:
            whole = pl_module.load_policy()
            with torch.no_grad():
                for name, parameter in whole.trainable().items():
                    parameter.copy_(weights[name])
            _export(whole, trainer)


def _export(policy: Policy, trainer: Trainer) -> None:
    replace_folder(Path(trainer.default_root_dir) / "hf", policy.save_pretrained)


def _gathered(parameter: torch.nn.Parameter) -> torch.Tensor:
    full = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter  # type: ignore[operator]
    return full.detach().cpu()
