"""The parts of a rollout loop, made of what a run is set to, of the learner and of the Trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lightning.pytorch import Trainer

from rlsd_pl.data_settings import completions_per_process
from rlsd_pl.engines import Engine
from rlsd_pl.learner import Learner
from rlsd_pl.rollout.checks import ProblemCheck, PromptLimits
from rlsd_pl.rollout.collector import RolloutCollector
from rlsd_pl.rollout.held_out import HeldOutSampler
from rlsd_pl.rollout.order import ProblemOrder
from rlsd_pl.rollout.sampler import OnProgress, Sampler
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.rollout.updates import UpdateCutter
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.trainer_settings import check_trainer
from rlsd_pl.types import Sampling
from rlsd_pl.verifiers.base import Verifier


class RolloutSettings(Protocol):
    """What a run is set to: arguments of the data module, which explains them.

    ``sampling`` is that of rollouts; ``usable`` are indices of the problems that passed the checks, by split, and
    ``None`` for an endless one.
    """

    task: Task
    verifier: Verifier
    engine: Engine
    sampling: Sampling
    prompts_per_rollout: int
    group_size: int
    updates_per_rollout: int
    micro_batch_size: int
    micro_batch_tokens: int | None
    max_prompt_tokens: int
    max_teacher_prompt_tokens: int | None
    max_error_share: float
    max_skipped_share: float
    max_resampling_rounds: int
    verify_timeout_seconds: float
    seed: int
    usable: dict[Split, list[int] | None]
    on_progress: OnProgress


@dataclass(frozen=True)
class Assembly:
    """Makes each part; settings are read when it is made."""

    settings: RolloutSettings
    learner: Learner
    trainer: Trainer

    def micro_batches_per_update(self) -> int:
        """On each process, without a token budget.

        Raises:
            SetupError: if sizes do not divide, or the Trainer cannot run a rollout loop.
        """
        settings = self.settings
        local = completions_per_process(
            settings.prompts_per_rollout,
            settings.group_size,
            settings.updates_per_rollout,
            settings.max_resampling_rounds,
            self.trainer.world_size,
            bool(self.learner.objective.needs.demonstrations),
        )
        accumulate = -(-(local // settings.updates_per_rollout) // settings.micro_batch_size)
        check_trainer(self.trainer, accumulate)
        return accumulate

    def prompt_limits(self) -> PromptLimits:
        """What prompts may take of the model's positions."""
        settings = self.settings
        return PromptLimits.within(
            self.learner.max_positions,
            settings.sampling.max_tokens,
            settings.max_prompt_tokens,
            settings.max_teacher_prompt_tokens,
        )

    def checks(self, task: Task) -> ProblemCheck:
        """Of a task's problems, before training."""
        return ProblemCheck(
            task,
            self.settings.verifier,
            self.learner,
            self.prompt_limits(),
            self.settings.max_skipped_share,
            self.settings.verify_timeout_seconds,
        )

    def order(self) -> ProblemOrder:
        """Which problems an iteration learns from."""
        return ProblemOrder(
            self.settings.task,
            self.settings.usable["train"],
            self.settings.prompts_per_rollout,
            self.settings.seed,
            self.trainer.global_rank,
            self.trainer.world_size,
        )

    def collector(self) -> RolloutCollector:
        """The rollout phase, with the learner's parts."""
        settings, learner = self.settings, self.learner
        return RolloutCollector(
            sampler=self._sampler(),
            scorer=self._scorer(),
            objective=learner.objective,
            sampling=settings.sampling,
            max_resampling_rounds=settings.max_resampling_rounds,
            off_policy=settings.updates_per_rollout > 1,
        )

    def _sampler(self) -> Sampler:
        settings = self.settings
        return Sampler(
            policy=self.learner.policy,
            engine=settings.engine,
            verifier=settings.verifier,
            max_error_share=settings.max_error_share,
            verify_timeout_seconds=settings.verify_timeout_seconds,
            forward_context=self.trainer.precision_plugin.forward_context,
            on_progress=lambda progress: settings.on_progress(progress),
        )

    def _scorer(self) -> Scorer:
        settings, learner = self.settings, self.learner
        return Scorer(
            policy=learner.policy,
            teacher=learner.teacher,
            context=learner.context,
            contrast=learner.contrast,
            reference=learner.reference,
            verifier=settings.verifier,
            temperature=settings.sampling.temperature,
            max_prompt_tokens=self.prompt_limits().teacher,
            batch_size=settings.micro_batch_size,
            forward_context=self.trainer.precision_plugin.forward_context,
        )

    def cutter(self) -> UpdateCutter:
        """What cuts a rollout into micro-batches."""
        return UpdateCutter(
            self.learner.policy,
            self.learner.objective.reduction,
            self.settings.sampling.temperature,
            self.settings.updates_per_rollout,
            self.settings.micro_batch_size,
            self.settings.micro_batch_tokens,
        )

    def held_out(self, sampler: Sampler) -> HeldOutSampler:
        """What completes problems that nothing is learnt from, through the sampler of rollouts."""
        trainer = self.trainer
        return HeldOutSampler(
            sampler, self.settings.sampling, self.settings.seed, trainer.global_rank, trainer.world_size
        )
