"""The trained policy as a Hugging Face folder, with a model card, and its adapters as another."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from peft import PeftModel

from rlsd_pl.callbacks.model_card import Training, model_card
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.errors import SetupError
from rlsd_pl.module import PolicyModule
from rlsd_pl.persistence.storage import replace_folder
from rlsd_pl.policy import Policy


class HuggingFaceExport(Callback):
    """Writes ``hf/`` in the run folder when training ends; ``AutoModelForCausalLM.from_pretrained`` loads it.

    Adapters are merged; shards are gathered. ``README.md`` is a model card: base model, method and papers, evaluation
    before and after, leakage, data, settings and command.

    Args:
        adapter: also write the adapters unmerged, as ``adapter/``; ``peft.PeftModel.from_pretrained`` puts them on the
            base model. ``--export.adapter true`` on the command line.
    """

    def __init__(self, adapter: bool = False) -> None:
        self.adapter = adapter

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be exported in the end.

        Raises:
            SetupError: if adapters are wanted of a policy that has none.
        """
        assert isinstance(pl_module, PolicyModule)
        if self.adapter and not pl_module.policy.has_adapters:
            raise SetupError(
                "Got --export.adapter true for a policy that trains all weights, so there are no adapters to save. "
                "Set --adapter lora, or leave it out: hf/ holds the whole model."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export."""
        assert isinstance(pl_module, PolicyModule)
        policy = pl_module.policy
        if not policy.sharded:
            if trainer.is_global_zero:
                self._export(policy, trainer, pl_module)
            return
        # Gathering is collective: every process takes part, the first one writes.
        weights = {name: _gathered(p) for name, p in policy.trainable().items()}
        if trainer.is_global_zero:
            whole = pl_module.load_policy()
            with torch.no_grad():
                for name, parameter in whole.trainable().items():
                    parameter.copy_(weights[name])
            self._export(whole, trainer, pl_module)

    def _export(self, policy: Policy, trainer: Trainer, module: PolicyModule) -> None:
        folder = Path(trainer.default_root_dir)
        card = model_card(_training(folder, trainer, module))

        def write(partial_folder: Path) -> None:
            policy.save_pretrained(partial_folder)
            card.save(partial_folder / "README.md")

        replace_folder(folder / "hf", write)
        if self.adapter:
            replace_folder(folder / "adapter", partial(_save_adapter, policy))


def _save_adapter(policy: Policy, folder: Path) -> None:
    """peft writes a card of its own beside the adapters; it knows nothing of the training."""
    cast(PeftModel, policy.model).save_pretrained(str(folder))
    policy.tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def _training(folder: Path, trainer: Trainer, module: PolicyModule) -> Training:
    for logger in trainer.loggers:
        logger.save()
    data: RolloutDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return Training(
        folder,
        module.name_or_path,
        {
            "objective": module.objective,
            "teacher": module.teacher,
            "context": module.context,
            "contrast": module.contrast,
            "task": data.task,
            "verifier": data.verifier,
        },
        data.held_out,
        data.val_samples,
        module.lora.r,
    )


def _gathered(parameter: torch.nn.Parameter) -> torch.Tensor:
    full = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter  # type: ignore[operator]
    return full.detach().cpu()
