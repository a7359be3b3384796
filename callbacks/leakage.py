"""Leakage detection: does the policy lean on what it has not been shown?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.callbacks.leakage_response import Response, Warn
from rlsd_pl.callbacks.leakage_samples import (
    Groups,
    answer_lead,
    answer_probe_sums,
    at_once_sums,
    gap_sums,
    samples_of_rollouts,
    teacher_kl_sums,
)
from rlsd_pl.collectives import Sums, global_means
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.errors import SetupError
from rlsd_pl.leakage import REFERENCES, Alarms, PhraseDetector, Rule, Sample, default_rules, measured, sample_sums
from rlsd_pl.leakage.format import AnswerFormat
from rlsd_pl.leakage.samples import samples_of
from rlsd_pl.module import PolicyModule
from rlsd_pl.ranges import check_count
from rlsd_pl.types import ValidationBatch

log = logging.getLogger("rlsd_pl.leakage")

BESIDE_VAL = ("length", "accuracy")
"""Measured for drifts and for shifted problems; on held-out problems ``val/`` has them."""


class LeakageDetection(Callback):
    """Measures signs of leakage on held-out completions at every evaluation, and acts on rules that hold.

    Keys ``leakage/``, each explained in docs/metrics.md; docs/leakage.md says what each is good for. All but
    ``teacher_kl`` (one forward of the teacher), the probes (three of the policy, on a few completions) and the shifted
    problems come without a forward; so does ``rollout_at_once`` but for one of each rollout's prompts.

    Works with any LightningModule whose validation batches, or whose ``validation_step``'s return value, are
    :class:`rlsd_pl.leakage.Texts`; what needs a teacher or the policy's log-probs is then left out.

    Args:
        patterns: regular expressions of phrases that refer to unseen material, case-insensitive.
        rules: what raises an alarm; default :func:`rlsd_pl.leakage.default_rules`. An empty list for none.
        on_leak: what follows an alarm beside the warning: ``Warn`` (default), ``Stop`` or ``Scale``.
        every: evaluations from one measurement to the next.
        probe_problems: problems whose answer is probed without its reasoning, three forwards each; 0 for none.
        answer_lead: what introduces an answer, for these probes; ``None`` for what the verifier says. Nothing is probed
            where it does not say.
        shifted_problems: of ``data.shifted``, most problems per measurement, one sample each.
    """

    def __init__(
        self,
        patterns: Sequence[str] = REFERENCES,
        rules: list[Rule] | None = None,
        on_leak: Response | None = None,
        every: int = 1,
        probe_problems: int = 32,
        answer_lead: str | None = None,
        shifted_problems: int = 64,
    ) -> None:
        check_count("leakage.every", every)
        check_count("leakage.probe_problems", probe_problems, 0)
        check_count("leakage.shifted_problems", shifted_problems)
        self.refers, self.format = PhraseDetector(patterns), AnswerFormat()
        self.alarms = Alarms(default_rules() if rules is None else rules)
        self.on_leak = on_leak or Warn()
        self.every, self.probe_problems, self.shifted_problems = every, probe_problems, shifted_problems
        self.answer_lead = answer_lead
        self.first: dict[str, float] = {}
        self.warned: set[str] = set()
        self.evaluations = 0
        self.samples: list[Sample] = []
        self.groups: list[Sequence[Any]] = []
        self.measured: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """First values, counts and what was done survive a resume."""
        own = {"first": dict(self.first), "warned": sorted(self.warned), "evaluations": self.evaluations}
        return {**own, "alarms": self.alarms.state_dict(), "response": self.on_leak.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first, self.warned = dict(state_dict["first"]), set(state_dict["warned"])
        self.evaluations = state_dict["evaluations"]
        self.alarms.load_state_dict(state_dict["alarms"])
        self.on_leak.load_state_dict(state_dict["response"])

    # --- before training ---------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what could not be done, and say what cannot be measured."""
        self.on_leak.prepare(pl_module)
        if self.probe_problems and isinstance(data := _data(trainer), RolloutDataModule):
            self.answer_lead = answer_lead(data.verifier) if self.answer_lead is None else self.answer_lead
            if self.answer_lead is None and trainer.is_global_zero:
                log.info(
                    "No answer is probed without its reasoning: %s does not say what introduces one. See "
                    "--leakage.answer_lead, for example 'The answer is '.",
                    type(data.verifier).__name__,
                )

    # --- evaluation --------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.samples, self.groups, self.measured = [], [], {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Keep what the batch, or else the step's output, offers."""
        if isinstance(batch, ValidationBatch):
            self.groups += batch.sampled or [[rollout] for rollout in batch.greedy]
            return
        found = samples_of(batch)
        found = samples_of(outputs) if found is None else found
        if found is None:
            raise SetupError(
                f"LeakageDetection got a {type(batch).__name__} as validation batch and {type(outputs).__name__} from "
                "validation_step; expected one of them to offer prompts and completions, as attributes or keys that "
                "hold texts (rlsd_pl.leakage.Texts)."
            )
        self.samples += found

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log."""
        self.evaluations += 1
        if (self.evaluations - 1) % self.every:
            return
        if isinstance(pl_module, PolicyModule):
            self.samples = samples_of_rollouts(pl_module, self.groups, drawn=bool(pl_module.evaluation.sampled))
        sums = {**sample_sums(self.samples, self.refers, self.format), **self._forward_sums(trainer, pl_module)}
        found = self._with_drifts(measured(global_means(sums)))
        self.measured = {f"leakage/{name}": value for name, value in found.items() if name not in BESIDE_VAL}
        self.measured |= self._shifted(trainer, pl_module)
        pl_module.log_dict(self.measured)

    def _forward_sums(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, tuple[float, float]]:
        """What takes a forward of teacher or policy."""
        data = _data(trainer)
        if not isinstance(pl_module, PolicyModule) or not isinstance(data, RolloutDataModule):
            return {}
        sums = dict(teacher_kl_sums(pl_module, data, pl_module.evaluation.sampled))
        if self.probe_problems and self.answer_lead is not None:
            sums |= answer_probe_sums(pl_module, data, self.groups, self.answer_lead, self.probe_problems)
        return sums

    def _shifted(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """The same of shifted problems, as far as it comes without a forward; keys ``leakage/shifted_``."""
        data = _data(trainer)
        if not isinstance(pl_module, PolicyModule) or not isinstance(data, RolloutDataModule) or data.shifted is None:
            return {}
        groups: Groups = data.complete_shifted(self.shifted_problems)
        samples = samples_of_rollouts(pl_module, groups, drawn=True)
        means = measured(global_means(sample_sums(samples, self.refers, self.format)))
        return {f"leakage/shifted_{name}": value for name, value in means.items()}

    def _with_drifts(self, means: dict[str, float]) -> dict[str, float]:
        """The change of length, entropy and overlap since the first evaluation."""
        first = {name: self.first.setdefault(name, means[name]) for name in DRIFTS if name in means}
        drifts = {drift: means[name] - first[name] for name, drift in DRIFTS.items() if name in first}
        if first.get("length"):
            drifts["length_drift"] /= first["length"]
        return {**means, **drifts}

    # --- alarms ------------------------------------------------------------------------------------------------------

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the rules on held-out completions."""
        evaluated = pl_module.evaluation.measured if isinstance(pl_module, PolicyModule) else {}
        self._check(trainer, pl_module, {**evaluated, **self.measured})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the rules on the iteration's rollout and updates; log what comes with these, alarms and response."""
        data, logged = _data(trainer), trainer.callback_metrics
        metrics = {name: float(value) for name, value in logged.items() if name.startswith("train/")}
        own = {"gap": metrics["train/divergence"]} if "train/divergence" in metrics else {}
        if isinstance(pl_module, PolicyModule) and isinstance(data, RolloutDataModule):
            metrics |= data.latest_metrics
            own |= global_means(
                {**gap_sums(data.latest.batch if data.latest else None), **self._at_once(pl_module, data)}
            )
        self._check(trainer, pl_module, {**metrics, **{f"leakage/{name}": value for name, value in own.items()}})
        own |= {"alarms": float(len(self.alarms.raised)), **self.on_leak.metrics()}
        pl_module.log_dict({f"leakage/{name}": value for name, value in own.items()})

    def _at_once(self, module: PolicyModule, data: RolloutDataModule) -> Sums:
        return at_once_sums(module, data, self.answer_lead or "") if self.probe_problems else {}

    def _check(self, trainer: Trainer, pl_module: LightningModule, metrics: Mapping[str, float]) -> None:
        raised = self.alarms.check(metrics)
        for rule in raised:
            if str(rule) not in self.warned and trainer.is_global_zero:
                log.warning(
                    "Leakage alarm after iteration %d: %s is %.3f (first %.3f); the rule: %s. Look at held-out "
                    "completions before you trust the accuracy.",
                    0 if trainer.sanity_checking else trainer.current_epoch + 1,
                    rule.key, metrics[rule.key], self.alarms.first[rule.key], rule,
                )  # fmt: skip
            self.warned.add(str(rule))
        if raised:
            self.on_leak.act(trainer, pl_module)


DRIFTS = {"length": "length_drift", "entropy": "entropy_drift", "overlap": "overlap_rise"}
"""What is compared with the first evaluation, and the names of the differences; that of the length is relative."""


def _data(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)


__all__ = ["LeakageDetection", "teacher_kl_sums"]
