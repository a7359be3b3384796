"""The LightningModule around the policy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from rlsd_pl.contexts import Context
from rlsd_pl.distributed import shard
from rlsd_pl.errors import UserCodeError
from rlsd_pl.evaluation import Evaluation
from rlsd_pl.functional import masked_mean
from rlsd_pl.models import Dtype, LoRA, load_config, load_tokenizer, max_positions
from rlsd_pl.nonfinite import NonFiniteError as NonFiniteError
from rlsd_pl.nonfinite import SkippedUpdates, gradient_norm, save_batch
from rlsd_pl.objectives import Objective
from rlsd_pl.optimizers import check_optimizer
from rlsd_pl.persistence.frozen import hashes_of, leave_out, put_back
from rlsd_pl.policy import Policy, TeacherStates, encode_chat
from rlsd_pl.teachers import FrozenTeacher, Teacher
from rlsd_pl.types import Message, MicroBatch, RolloutBatch, Signal, TokenLoss, TokenScores, ValidationBatch


class PolicyModule(LightningModule):
    """Trains a policy on rollouts with any objective; it cannot tell one objective from another.

    Args:
        objective: what to learn from a rollout.
        teacher: whose weights score under the privileged context.
        context: what the teacher sees beside the problem.
        contrast: rejected contexts, for objectives that contrast two; others leave it alone.
        optimizer: makes the optimizer from parameters.
        lr_scheduler: makes a scheduler from the optimizer; it steps once per iteration.
        name_or_path: a Hugging Face folder or hub id; ``lab`` is the embedded base policy.
        lora: adapters; rank 0 trains all weights.
        dtype: of the weights. Keep float32 and let ``trainer.precision=bf16-mixed`` compute in bfloat16: small steps
            vanish in bfloat16 weights.
        attn_implementation: for transformers, for example ``sdpa`` or ``flash_attention_2``.
        gradient_checkpointing: recompute activations in the backward pass.
        chat_template_kwargs: passed on to ``apply_chat_template``.
        max_skipped_updates: updates in a row with a gradient that is not finite, each of which is skipped, after which
            the run stops.
        liger: Liger's kernels for norms, gated layers and rotary embeddings; needs a GPU and ``rlsd_pl[liger]``.
    """

    def __init__(
        self,
        objective: Objective,
        teacher: Teacher,
        context: Context,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        name_or_path: str = "lab",
        lora: LoRA = LoRA(),  # noqa: B008 (frozen)
        dtype: Dtype = "float32",
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
        chat_template_kwargs: dict[str, Any] | None = None,
        contrast: Context | None = None,
        max_skipped_updates: int = 3,
        liger: bool = False,
    ) -> None:
        super().__init__()
        self.skipped_updates = SkippedUpdates(max_skipped_updates)
        if objective.needs.signals & Signal.CONTRAST and contrast is None:
            raise ValueError(
                f"{type(objective).__name__} contrasts two contexts and got one. Set --contrast, for example to "
                "rlsd_pl.contexts.RejectedAnswers."
            )
        self.objective, self.teacher, self.context, self.contrast = objective, teacher, context, contrast
        self.reference = FrozenTeacher() if objective.needs.signals & Signal.REFERENCE else None
        check_optimizer(optimizer, lr_scheduler)
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.name_or_path, self.lora = name_or_path, lora
        self.weights_dtype: Dtype = dtype
        self.attn_implementation, self.gradient_checkpointing = attn_implementation, gradient_checkpointing
        self.chat_template_kwargs, self.liger = chat_template_kwargs or {}, liger
        self.max_positions = max_positions(load_config(name_or_path))
        self.tokenizer = load_tokenizer(name_or_path, chat_template_kwargs)
        for shown in (context, contrast):
            if shown is not None:
                shown.bind(cast(Any, self.tokenizer))
        self.evaluation = Evaluation()
        self.last_batch: RolloutBatch | None = None
        self._policy: Policy | None = None

    @property
    def policy(self) -> Policy:
        """The policy, once Lightning has configured the model."""
        if self._policy is None:
            raise RuntimeError("The policy exists from configure_model on; call that first, or let the Trainer do it.")
        return self._policy

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Chat to prompt ids, up to and with the generation prompt."""
        return encode_chat(self.tokenizer, messages, self.chat_template_kwargs)

    def load_policy(self) -> Policy:
        """A policy with the initial weights, whole and on the CPU."""
        return Policy.from_pretrained(
            self.name_or_path,
            self.tokenizer,
            self.lora,
            self.weights_dtype,
            self.attn_implementation,
            self.gradient_checkpointing,
            self.liger,
            chat_template_kwargs=self.chat_template_kwargs,
        )

    def configure_model(self) -> None:
        """Load the weights, shard them where the strategy does, and show them to the teachers."""
        if self._policy is not None:
            return
        policy = self.load_policy()
        if self.device_mesh is not None:
            shard(policy, self.device_mesh["data_parallel"])
        self._policy = policy
        self.teacher.bind(policy)
        if self.reference is not None:
            self.reference.bind(policy)

    def configure_optimizers(self) -> Any:
        """Optimizer over the trainable tensors."""
        optimizer = self.make_optimizer(self.policy.trainable().values())
        if self.make_lr_scheduler is None:
            return optimizer
        return [optimizer], [self.make_lr_scheduler(optimizer)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what training does not change."""
        leave_out(checkpoint, self._frozen_hashes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it from the model again."""
        put_back(checkpoint, self._frozen_weights(), self._frozen_hashes, self.name_or_path)

    @cached_property
    def _frozen_hashes(self) -> dict[str, int]:
        """Once per run: reading all weights at every checkpoint would take seconds of each iteration."""
        return hashes_of(self._frozen_weights())

    def _frozen_weights(self) -> dict[str, Tensor]:
        """Weights of the policy without a gradient, by their names in the module; none of a sharded one, whose
        checkpoints are whole."""
        if self.device_mesh is not None:
            return {}
        named = self.policy.named_parameters(prefix="_policy", remove_duplicate=False)
        return {name: parameter.data for name, parameter in named if not parameter.requires_grad}

    def training_step(self, micro: MicroBatch, batch_idx: int) -> STEP_OUTPUT:
        """One micro-batch: its loss, and what is logged of it."""
        self.last_batch = micro.batch
        loss, token_loss = self.loss(micro)
        self._log_tokens({"loss": token_loss.loss.detach(), **token_loss.diagnostics}, micro)
        # Lightning divides by the accumulated batches, and processes are averaged; the count has covered both already.
        return loss * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def loss(self, micro: MicroBatch) -> tuple[Tensor, TokenLoss]:
        """Score, loss per token [B, T], and its reduction by the count of the whole optimizer batch, a scalar."""
        batch, needs = micro.batch, self.objective.needs
        scores = self.policy(
            batch.prompts,
            batch.completions,
            micro.temperature,
            divergence=needs.divergence,
            teacher=self._teacher_states(batch),
            entropy_gradient=needs.entropy_gradient,
        )
        token_loss = self._token_loss(batch, scores)
        return self.objective.reduction(token_loss.loss, batch.loss_mask, micro.loss_count), token_loss

    def _token_loss(self, batch: RolloutBatch, scores: TokenScores) -> TokenLoss:
        """The objective's loss, its shape checked."""
        returned = self.objective.loss(batch, scores)
        if not isinstance(returned, TokenLoss) or returned.loss.shape != batch.loss_mask.shape:
            got = f"shape {tuple(returned.loss.shape)}" if isinstance(returned, TokenLoss) else type(returned).__name__
            raise UserCodeError(
                f"{type(self.objective).__name__}.loss returned {got}; expected a TokenLoss whose loss has shape "
                f"{tuple(batch.loss_mask.shape)}, that is [B, T]."
            )
        return returned

    def _teacher_states(self, batch: RolloutBatch) -> TeacherStates | None:
        if batch.distillation is None:
            return None
        with self.teacher.scoring(self.policy) as model:
            return model.teacher_states(batch.distillation.prompts, batch.completions, self.teacher.same_weights)

    def _log_tokens(self, values: dict[str, Tensor], micro: MicroBatch) -> None:
        means = {f"train/{name}": masked_mean(value, micro.batch.loss_mask) for name, value in values.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=max(micro.tokens, 1), sync_dist=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norm before clipping; skip an update whose gradient is not finite."""
        norm = gradient_norm(self.policy.trainable().values())
        finite = bool(torch.isfinite(norm))
        self.log("train/skipped_updates", float(not finite), on_step=False, on_epoch=True, reduce_fx="sum")
        if finite:
            self.skipped_updates.applied()
            self.log("train/grad_norm", norm, on_step=False, on_epoch=True, batch_size=1)
        elif self.skipped_updates.skip(optimizer, self.current_epoch + 1, norm):
            path = Path(self.trainer.default_root_dir) / "nonfinite_batch.pt"
            if self.trainer.is_global_zero and self.last_batch is not None:
                save_batch(self.last_batch, path)
            raise self.skipped_updates.error(self.current_epoch + 1, path)

    def on_train_epoch_start(self) -> None:
        """Log the learning rate of the updates that follow; a scheduler changes it before the iteration ends."""
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self) -> None:
        """Close the iteration: refresh the teacher."""
        self.teacher.after_iteration(self.policy, self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self.evaluation.start()

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        """Add verified completions of held-out problems."""
        self.evaluation.update(batch)

    def on_validation_epoch_end(self) -> None:
        """Log accuracy and health over all processes."""
        iteration = 0 if self.trainer.sanity_checking else self.current_epoch + 1
        # A metric named "step" is what Lightning puts on the loggers' x-axis: iterations, not micro-batches.
        self.log_dict({**self.evaluation.compute(), "step": float(iteration)})
