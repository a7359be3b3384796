"""The data of a run: problems, and the rollouts that each epoch makes of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from rlsd_pl.assembly import Assembly
from rlsd_pl.collectives import global_means
from rlsd_pl.data_settings import check_data_settings, warn_of_truncated_sampling
from rlsd_pl.engines import Engine
from rlsd_pl.learner import Learner
from rlsd_pl.rollout.collector import RolloutCollector, RolloutSet
from rlsd_pl.rollout.datasets import HeldOutDataset, ListDataset
from rlsd_pl.rollout.order import ProblemOrder
from rlsd_pl.rollout.sampler import OnProgress, derive_seed, ignore_progress
from rlsd_pl.rollout.verdict_checks import check_span_names
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import MicroBatch, Problem, Rollout, RolloutBatch, Sampling, ValidationBatch
from rlsd_pl.verifiers.base import Verifier


class RolloutDataModule(LightningDataModule):
    """Once per epoch: problems, completions, verdicts, teacher scores, credit; then a sized loader of micro-batches.

    One Lightning epoch is one *iteration*: a rollout and all its optimizer updates.

    Args:
        task: where problems come from.
        verifier: judges completions.
        engine: samples completions.
        prompts_per_rollout: P, over all processes.
        group_size: G, completions per prompt.
        updates_per_rollout: optimizer updates that share one rollout. With 1 the update is exactly on-policy.
        micro_batch_size: completions per forward and backward; gradients accumulate over an update.
        micro_batch_tokens: instead of that, the positions (prompt and completion tokens, padding included) that a
            forward and backward may compute: short completions then go through in larger micro-batches.
        max_prompt_tokens: a problem with a longer prompt is skipped and reported.
        max_completion_tokens: T at most; a completion without EOS by then is truncated. Prompt and completion together
            stay within the model's positions: a longer prompt is skipped too.
        max_teacher_prompt_tokens: limit on the teacher's prompt, privileged text included; ``None`` for what the
            model's positions leave beside a completion. Where the text stands in the data, a problem with a longer one
            is skipped; where it comes from the rollout, the completion counts as without a context.
        temperature: of sampling and scoring; above 0.
        top_p, top_k: truncation of sampling; leave them off for training.
        val_problems: held-out problems per evaluation.
        val_samples: sampled completions per held-out problem, for avg@k and pass@k; 0 skips sampling.
        max_error_share: share of completions that the verifier may fail on before the run stops.
        val_before_training: whether the initial policy is evaluated, as iteration 0.
        shifted: a task of the same kind whose held-out problems are not like those that are learnt from: longer, of
            other operators, from another table. Leakage detection looks at these too; the same verifier judges them.
        verify_timeout_seconds: of one call of the verifier, ``verify`` or ``check``; several warnings, and past it the
            run stops and names the verifier.
        max_skipped_share: share of unusable rows in the data above which the run does not start.
        max_resampling_rounds: dynamic sampling (DAPO, 2503.14476): most rounds in which zero-variance groups, whose
            rewards are all equal, are replaced by groups of new problems; 0 switches it off.
        seed: of problem order and sampling.
    """

    def __init__(
        self,
        task: Task,
        verifier: Verifier,
        engine: Engine,
        prompts_per_rollout: int = 8,
        group_size: int = 8,
        updates_per_rollout: int = 1,
        micro_batch_size: int = 64,
        max_prompt_tokens: int = 1024,
        max_completion_tokens: int = 1024,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        val_problems: int = 256,
        val_samples: int = 4,
        max_error_share: float = 0.05,
        max_skipped_share: float = 0.2,
        max_resampling_rounds: int = 0,
        seed: int = 0,
        max_teacher_prompt_tokens: int | None = None,
        verify_timeout_seconds: float = 600.0,
        micro_batch_tokens: int | None = None,
        val_before_training: bool = True,
        shifted: Task | None = None,
    ) -> None:
        super().__init__()
        check_data_settings(locals())
        self.task, self.verifier, self.engine = task, verifier, engine
        self.prompts_per_rollout, self.group_size = prompts_per_rollout, group_size
        self.updates_per_rollout, self.micro_batch_size = updates_per_rollout, micro_batch_size
        self.micro_batch_tokens = micro_batch_tokens
        self.max_prompt_tokens, self.max_teacher_prompt_tokens = max_prompt_tokens, max_teacher_prompt_tokens
        self.sampling = Sampling(max_completion_tokens, group_size, temperature, top_p, top_k)
        self.val_problems, self.val_samples, self.val_before_training = val_problems, val_samples, val_before_training
        self.max_error_share, self.max_skipped_share = max_error_share, max_skipped_share
        self.max_resampling_rounds, self.verify_timeout_seconds = max_resampling_rounds, verify_timeout_seconds
        self.seed = seed
        self.shifted, self.shifted_usable = shifted, list[int]()
        self.usable: dict[Split, list[int] | None] = {}
        self.on_progress: OnProgress = ignore_progress
        self.latest: RolloutSet | None = None
        self._engine_step: int | None = None
        self.latest_metrics: dict[str, float] = {}

    def setup(self, stage: str) -> None:
        """Check every row that could be used, and that the Trainer fits a rollout loop."""
        if stage == "fit":
            self._trainer.accumulate_grad_batches = self._assembly.micro_batches_per_update()
            check_span_names(self.verifier, self._learner.objective)
            self._learner.objective.truncation.check(self.sampling.max_tokens)
            if not self.val_before_training:
                self._trainer.num_sanity_val_steps = 0
            warn_of_truncated_sampling(self.sampling)
        checks = self._assembly.checks(self.task)
        if stage == "fit" and self.task.size("train") != 0:
            checks.try_wordings()
        checks.check_examples()
        for split in ("train", "val") if stage == "fit" else ("val",):
            if split not in self.usable:
                self.usable[split] = checks.usable(split)
        if stage == "fit" and self.shifted is not None and not self.shifted_usable:
            usable = self._assembly.checks(self.shifted).usable("val")
            self.shifted_usable = list(range(self.val_problems)) if usable is None else usable

    def train_dataloader(self) -> DataLoader:
        """Collect a rollout with the weights as they stand, and cut it into micro-batches."""
        iteration = self._trainer.current_epoch
        start = time.perf_counter()
        self._tell_engine()
        rollouts = self.collector.collect(
            self.order.problems(iteration),
            iteration,
            derive_seed(self.seed, "rollout", iteration, self._trainer.global_rank),
            partial(self.order.replacements, iteration),
        )
        micro = self.micro_batches(rollouts.batch, iteration)
        metrics = global_means({**rollouts.sums, "perf/padding_share": self._assembly.cutter().padding(micro)})
        metrics["perf/rollout_seconds"] = time.perf_counter() - start
        self.latest, self.latest_metrics = rollouts, metrics
        return DataLoader(ListDataset(micro), batch_size=None)

    @property
    def order(self) -> ProblemOrder:
        """Which problems an iteration learns from."""
        return self._assembly.order()

    def micro_batches(self, batch: RolloutBatch, iteration: int) -> list[MicroBatch]:
        """Cut a rollout into optimizer batches, and these into micro-batches with their global count.

        Under a token budget the number of these depends on the rollout, and the Trainer accumulates as many.
        """
        micro = self._assembly.cutter().cut(batch, derive_seed(self.seed, "updates", iteration))
        if self.micro_batch_tokens is not None:
            self._trainer.accumulate_grad_batches = len(micro) // self.updates_per_rollout
        return micro

    @cached_property
    def collector(self) -> RolloutCollector:
        """The rollout phase, made of the learner's parts."""
        return self._assembly.collector()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Micro-batches move; completions of held-out problems are text and stay."""
        return batch.to(device) if isinstance(batch, MicroBatch) else batch

    @property
    def held_out(self) -> int:
        """Held-out problems of one evaluation, over all processes: ``val_problems``, or all that there are."""
        usable = self.usable["val"]
        return self.val_problems if usable is None else min(self.val_problems, len(usable))

    def val_dataloader(self) -> DataLoader:
        """The held-out problems, of which this process completes its share when the loader is iterated."""
        usable, count = self.usable["val"], self.held_out
        problems = [self.task.problem("val", i if usable is None else usable[i]) for i in range(count)]
        return DataLoader(HeldOutDataset(partial(self.complete, problems)), batch_size=None)

    def complete(self, problems: Sequence[Problem]) -> ValidationBatch:
        """Greedy and sampled completions of this process's share of held-out problems, verified."""
        self._tell_engine()
        return self._assembly.held_out(self.collector.sampler).evaluated(problems, self.val_samples)

    def complete_shifted(self, count: int) -> list[list[Rollout]]:
        """One verified sample of each of the first ``count`` shifted problems, of which this process has its share.

        Nothing without shifted problems.
        """
        if self.shifted is None:
            return []
        self._tell_engine()
        return self._assembly.held_out(self.collector.sampler).shifted(
            [self.shifted.problem("val", i) for i in self.shifted_usable[:count]]
        )

    def _tell_engine(self) -> None:
        """The engine is bound before its first completion, and told of each change of the weights."""
        step = self._trainer.global_step
        if self._engine_step is None:
            self.engine.bind(self._learner.policy)
        elif step != self._engine_step:
            self.engine.weights_changed()
        self._engine_step = step

    def teardown(self, stage: str) -> None:
        """Stop the engine and the verifier's workers."""
        self.engine.close()
        self.verifier.close()

    @property
    def _assembly(self) -> Assembly:
        return Assembly(self, self._learner, self._trainer)

    @property
    def _trainer(self):
        if self.trainer is None:
            raise RuntimeError("The RolloutDataModule needs a Trainer: use Trainer.fit(module, datamodule).")
        return self.trainer

    @property
    def _learner(self) -> Learner:
        return cast(Learner, self._trainer.lightning_module)
