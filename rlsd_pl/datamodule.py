"""The data of a run: problems, and the rollouts that each epoch makes of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rlsd_pl.collectives import global_max, global_means, global_sum
from rlsd_pl.engines import Engine
from rlsd_pl.errors import SetupError
from rlsd_pl.learner import Learner
from rlsd_pl.ranges import check_count, check_number, check_share
from rlsd_pl.rollout.checks import ProblemCheck, PromptLimits
from rlsd_pl.rollout.collector import RolloutCollector, RolloutSet
from rlsd_pl.rollout.micro_batches import RowLengths, cut, cut_by_tokens, divided, padding
from rlsd_pl.rollout.order import ProblemOrder
from rlsd_pl.rollout.sampler import OnProgress, Sampler, derive_seed, ignore_progress
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.rollout.verdict_checks import check_span_names
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.trainer_settings import check_trainer
from rlsd_pl.types import MicroBatch, Problem, Rollout, RolloutBatch, Sampling, ValidationBatch
from rlsd_pl.verifiers.base import Verifier

log = logging.getLogger(__name__)

T = TypeVar("T")


class ListDataset(Dataset[T]):
    """A sized dataset over a list. Sized, because Lightning prefetches a loader without a length: off by one step."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]


class HeldOutDataset(Dataset[ValidationBatch]):
    """One batch: this process's held-out problems, completed when the batch is read, with the weights of that moment.

    Not earlier: Lightning keeps the loader from the evaluation before training for the first one after it.
    """

    def __init__(self, data: RolloutDataModule, problems: Sequence[Problem], counted: int) -> None:
        self.data, self.problems, self.counted = data, problems, counted

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> ValidationBatch:
        if index:
            raise IndexError(index)
        return self.data.complete(self.problems, self.counted)


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
        for name, value, least in [
            ("prompts_per_rollout", prompts_per_rollout, 1),
            ("group_size", group_size, 2),
            ("updates_per_rollout", updates_per_rollout, 1),
            ("micro_batch_size", micro_batch_size, 1),
            ("max_prompt_tokens", max_prompt_tokens, 1),
            ("max_completion_tokens", max_completion_tokens, 1),
            ("val_problems", val_problems, 1),
            ("val_samples", val_samples, 0),
            ("max_resampling_rounds", max_resampling_rounds, 0),
            ("top_k", top_k, 0),
        ]:
            check_count(f"data.{name}", value, least)
        if max_teacher_prompt_tokens is not None:
            check_count("data.max_teacher_prompt_tokens", max_teacher_prompt_tokens)
        if micro_batch_tokens is not None:
            check_count("data.micro_batch_tokens", micro_batch_tokens)
        check_number("data.temperature", temperature, 0.01, 100.0, "greedy rollouts explore nothing")
        check_number("data.top_p", top_p, 1e-6, 1.0, "the share of probability that is drawn from; 1 switches it off")
        check_share("data.max_error_share", max_error_share)
        check_share("data.max_skipped_share", max_skipped_share)
        check_number("data.verify_timeout_seconds", verify_timeout_seconds, 1, 1e7, "of one call of the verifier")
        if (prompts_per_rollout * group_size) % updates_per_rollout:
            raise ValueError(
                f"Got data.updates_per_rollout={updates_per_rollout} for {prompts_per_rollout} x {group_size} = "
                f"{prompts_per_rollout * group_size} completions; expected a divisor, so that updates are of one size."
            )
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

    # --- before training ---------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Check every row that could be used, and that the Trainer fits a rollout loop."""
        if stage == "fit":
            self._check_trainer()
            check_span_names(self.verifier, self._learner.objective)
            if not self.val_before_training:
                self._trainer.num_sanity_val_steps = 0
            self._warn_of_truncated_sampling()
        checks = self._checks(self.task)
        if stage == "fit" and self.task.size("train") != 0:
            checks.try_wordings()
        checks.check_examples()
        for split in ("train", "val") if stage == "fit" else ("val",):
            if split not in self.usable:
                self.usable[split] = checks.usable(split)
        if stage == "fit" and self.shifted is not None and not self.shifted_usable:
            usable = self._checks(self.shifted).usable("val")
            self.shifted_usable = list(range(self.val_problems)) if usable is None else usable

    def _checks(self, task: Task) -> ProblemCheck:
        return ProblemCheck(
            task,
            self.verifier,
            self._learner,
            self.prompt_limits,
            self.max_skipped_share,
            self.verify_timeout_seconds,
        )

    def _check_trainer(self) -> None:
        trainer = self._trainer
        if self.prompts_per_rollout % trainer.world_size:
            raise SetupError(
                f"Got data.prompts_per_rollout={self.prompts_per_rollout} on {trainer.world_size} processes; expected "
                "a multiple, because a group stays on one process."
            )
        demonstrations = self._learner.objective.needs.demonstrations
        if demonstrations and self.max_resampling_rounds:
            raise SetupError(
                f"Got data.max_resampling_rounds={self.max_resampling_rounds} for an objective that "
                "learns from demonstrations; expected 0: a group of one has zero variance."
            )
        per_prompt = 1 if demonstrations else self.group_size
        local = self.prompts_per_rollout // trainer.world_size * per_prompt
        if local % self.updates_per_rollout:
            raise SetupError(
                f"Got data.updates_per_rollout={self.updates_per_rollout} for {local} completions per process; "
                "expected a divisor."
            )
        accumulate = -(-(local // self.updates_per_rollout) // self.micro_batch_size)
        check_trainer(trainer, accumulate)
        trainer.accumulate_grad_batches = accumulate

    def _warn_of_truncated_sampling(self) -> None:
        if self.sampling.truncated:
            log.warning(
                "Sampling is truncated (data.top_p=%s, data.top_k=%d), but log-probs are of the full distribution, so "
                "the importance ratio is biased. Set data.top_p=1 and data.top_k=0 for training.",
                self.sampling.top_p,
                self.sampling.top_k,
            )

    @property
    def prompt_limits(self) -> PromptLimits:
        """What prompts may take of the model's positions."""
        return PromptLimits.within(
            self._learner.max_positions,
            self.sampling.max_tokens,
            self.max_prompt_tokens,
            self.max_teacher_prompt_tokens,
        )

    # --- training ----------------------------------------------------------------------------------------------------

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
        padded = padding([part.batch for part in micro], self._shares_prefixes)
        metrics = global_means({**rollouts.sums, "perf/padding_share": padded})
        metrics["perf/rollout_seconds"] = time.perf_counter() - start
        self.latest, self.latest_metrics = rollouts, metrics
        return DataLoader(ListDataset(micro), batch_size=None)

    @property
    def order(self) -> ProblemOrder:
        """Which problems an iteration learns from."""
        trainer = self._trainer
        return ProblemOrder(
            self.task,
            self.usable["train"],
            self.prompts_per_rollout,
            self.seed,
            trainer.global_rank,
            trainer.world_size,
        )

    def micro_batches(self, batch: RolloutBatch, iteration: int) -> list[MicroBatch]:
        """Cut a rollout into optimizer batches, and these into micro-batches with their global count."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "updates", iteration))
        rows = torch.arange(len(batch))
        if self.updates_per_rollout > 1:
            rows = torch.randperm(len(batch), generator=generator)
        policy, reduction = self._learner.policy, self._learner.objective.reduction
        updates = rows.chunk(self.updates_per_rollout)
        lengths = RowLengths.of(batch.prompts, batch.completions, self._shares_prefixes)
        micro: list[MicroBatch] = []
        for update, parts in zip(updates, self._parts(updates, lengths), strict=True):
            count = global_sum(reduction.count(batch.loss_mask[update]).item(), policy.device)
            for part in map(batch.select, parts):
                micro.append(MicroBatch(part, count, self.sampling.temperature, int(part.loss_mask.sum())))
        return micro

    def _parts(self, updates: Sequence[Tensor], lengths: RowLengths) -> list[list[Tensor]]:
        """The rows of each micro-batch of each update. Under a token budget their number depends on the rollout."""
        if self.micro_batch_tokens is None:
            return [cut(update, self.micro_batch_size, lengths) for update in updates]
        parts = [cut_by_tokens(update, self.micro_batch_tokens, lengths) for update in updates]
        count = global_max(max(map(len, parts)), self._learner.policy.device)
        self._trainer.accumulate_grad_batches = count
        return [divided(own, count) for own in parts]

    @property
    def _shares_prefixes(self) -> bool:
        return self._learner.policy.shares_prefixes(gradients=True)

    @cached_property
    def collector(self) -> RolloutCollector:
        """The rollout phase, made of the learner's parts."""
        learner, forward_context = self._learner, self._trainer.precision_plugin.forward_context
        sampler = Sampler(
            policy=learner.policy,
            engine=self.engine,
            verifier=self.verifier,
            max_error_share=self.max_error_share,
            verify_timeout_seconds=self.verify_timeout_seconds,
            forward_context=forward_context,
            on_progress=lambda progress: self.on_progress(progress),
        )
        scorer = Scorer(
            policy=learner.policy,
            teacher=learner.teacher,
            context=learner.context,
            contrast=learner.contrast,
            reference=learner.reference,
            verifier=self.verifier,
            temperature=self.sampling.temperature,
            max_prompt_tokens=self.prompt_limits.teacher,
            batch_size=self.micro_batch_size,
            forward_context=forward_context,
        )
        return RolloutCollector(
            sampler=sampler,
            scorer=scorer,
            objective=learner.objective,
            sampling=self.sampling,
            max_resampling_rounds=self.max_resampling_rounds,
            off_policy=self.updates_per_rollout > 1,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Micro-batches move; completions of held-out problems are text and stay."""
        return batch.to(device) if isinstance(batch, MicroBatch) else batch

    # --- evaluation --------------------------------------------------------------------------------------------------

    @property
    def held_out(self) -> int:
        """Held-out problems of one evaluation, over all processes: ``val_problems``, or all that there are."""
        usable = self.usable["val"]
        return self.val_problems if usable is None else min(self.val_problems, len(usable))

    def val_dataloader(self) -> DataLoader:
        """This process's share of the held-out problems, completed when the loader is iterated."""
        usable, count = self.usable["val"], self.held_out
        problems = [self.task.problem("val", i if usable is None else usable[i]) for i in range(count)]
        return DataLoader(HeldOutDataset(self, *self._share(problems)), batch_size=None)

    def _share(self, problems: Sequence[Problem]) -> tuple[list[Problem], int]:
        """This process's problems, and how many of them count."""
        rank, world = self._trainer.global_rank, self._trainer.world_size
        own = list(problems[rank::world])
        # Sharded, generating is collective: every process completes the same number, and drops what is too many.
        padding = problems[: -(-len(problems) // world) - len(own)]
        return [*own, *padding], len(own)

    def complete(self, problems: Sequence[Problem], counted: int) -> ValidationBatch:
        """Greedy and sampled completions of held-out problems, verified; of the first ``counted`` ones.

        The draws are the same at every evaluation, so that curves show the policy and not the sampling noise.
        """
        self._tell_engine()
        seed = derive_seed(self.seed, "validation", self._trainer.global_rank)
        sampler = self.collector.sampler
        greedy = replace(self.sampling, completions=1, temperature=0.0)
        answers = sampler.sample(problems, greedy, seed, "evaluation").groups[:counted]
        if not self.val_samples:
            return ValidationBatch([group[0] for group in answers], [])
        sampling = replace(self.sampling, completions=self.val_samples)
        sampled = sampler.sample(problems, sampling, seed, "evaluation").groups[:counted]
        return ValidationBatch([group[0] for group in answers], sampled)

    def complete_shifted(self, count: int) -> list[list[Rollout]]:
        """One verified sample of each of the first ``count`` shifted problems, of which this process has its share.

        As with :meth:`complete`, the draws are the same each time. Nothing without shifted problems.
        """
        if self.shifted is None:
            return []
        self._tell_engine()
        problems, counted = self._share([self.shifted.problem("val", i) for i in self.shifted_usable[:count]])
        seed = derive_seed(self.seed, "shifted", self._trainer.global_rank)
        sampling = replace(self.sampling, completions=1)
        return self.collector.sampler.sample(problems, sampling, seed, "shifted problems").groups[:counted]

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
    def _trainer(self):
        if self.trainer is None:
            raise RuntimeError("The RolloutDataModule needs a Trainer: use Trainer.fit(module, datamodule).")
        return self.trainer

    @property
    def _learner(self) -> Learner:
        return cast(Learner, self._trainer.lightning_module)
