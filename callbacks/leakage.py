"""Leakage detection: does the policy lean on what it has not been shown?"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rlsd_pl.collectives import global_means
from rlsd_pl.datamodule import RolloutDataModule
from rlsd_pl.module import PolicyModule
from rlsd_pl.patterns import TextPattern
from rlsd_pl.types import Rollout

log = logging.getLogger("rlsd_pl.leakage")

REFERENCES = (
    r"\b(?:the|this|that) (?:given |provided |supplied )?(?:reference|hint|answer key|provided (?:answer|solution))\b",
    r"\b(?:as|since|because) (?:it (?:is|was) )?(?:given|stated|provided|shown) (?:in|by) "
    r"the (?:answer|solution|reference)",
    r"\b(?:according to|based on|from|matches|matching) the "
    r"(?:reference|given answer|provided answer|answer key|solution)",
    r"\b(?:we|I) (?:already )?(?:know|are told) (?:that )?the (?:final )?answer\b",
)
"""Phrases that refer to material which the problem did not hold."""


class LeakageDetection(Callback):
    """Watches held-out completions, at every evaluation, for signs that privileged information has leaked into style.

    Logs, all on the sampled held-out completions (greedy ones where none are sampled):
        leakage/hollow_rate: answers that their own steps do not yield; only where the verifier can tell (the lab).
        leakage/phrase_rate: completions with a phrase that refers to unseen material and that the prompt lacks.
        leakage/length_drift: relative change of the mean length since the first evaluation.
        leakage/teacher_kl: mean of log P_S(y | x) - log P_T(y | x, r) over tokens, nats: KL(S || T) by sampling.

    Args:
        patterns: regular expressions, case-insensitive.
        max_hollow_rate, max_phrase_rate, max_length_drift: thresholds; crossing one warns once. The drift counts in
            both directions.
    """

    def __init__(
        self,
        patterns: Sequence[str] = REFERENCES,
        max_hollow_rate: float = 0.2,
        max_phrase_rate: float = 0.05,
        max_length_drift: float = 0.5,
    ) -> None:
        self.pattern = TextPattern("(?i)" + "|".join(f"(?:{p})" for p in patterns), "patterns")
        self.thresholds = {
            "hollow_rate": max_hollow_rate,
            "phrase_rate": max_phrase_rate,
            "length_drift": max_length_drift,
        }
        self.first_length: float | None = None
        self.warned: set[str] = set()

    def state_dict(self) -> dict[str, object]:
        """The baseline survives a resume."""
        return {"first_length": self.first_length, "warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict) -> None:
        self.first_length, self.warned = state_dict["first_length"], set(state_dict["warned"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, log, warn."""
        assert isinstance(pl_module, PolicyModule)
        evaluation = pl_module.evaluation
        rollouts = [r for group in evaluation.sampled for r in group] or evaluation.greedy
        data: RolloutDataModule = trainer.datamodule  # type: ignore[attr-defined]
        kl = teacher_kl_sums(pl_module, data, evaluation.sampled)
        measured = global_means({**self._text_sums(rollouts), **kl})
        length = measured.pop("length")
        self.first_length = self.first_length or length
        measured["length_drift"] = length / self.first_length - 1
        pl_module.log_dict({f"leakage/{name}": value for name, value in measured.items()})
        for name, threshold in self.thresholds.items():
            if abs(measured.get(name, 0.0)) > threshold and name not in self.warned:
                self.warned.add(name)
                if trainer.is_global_zero:
                    log.warning(
                        "leakage/%s is %.3f, beyond %.3f, after iteration %d: look at held-out completions before you "
                        "trust the accuracy.",
                        name,
                        measured[name],
                        threshold,
                        0 if trainer.sanity_checking else trainer.current_epoch + 1,
                    )

    def _text_sums(self, rollouts: Sequence[Rollout]) -> dict[str, tuple[float, float]]:
        count = float(len(rollouts))
        refers = [self.refers_to_unseen(r) for r in rollouts]
        hollow = [r.verdict.metrics["hollow"] for r in rollouts if "hollow" in r.verdict.metrics]
        return {
            "phrase_rate": (float(sum(refers)), count),
            "length": (float(sum(len(r.completion.token_ids) for r in rollouts)), count),
            "hollow_rate": (sum(hollow), float(len(hollow))),
        }

    def refers_to_unseen(self, rollout: Rollout) -> bool:
        """True if the completion holds a phrase of the patterns that does not stand in the prompt as well."""
        prompt = rollout.problem.prompt.lower()
        return any(m.group().lower() not in prompt for m in self.pattern.matches(rollout.completion.text))


@torch.no_grad()
def teacher_kl_sums(
    module: PolicyModule, data: RolloutDataModule, groups: Sequence[Sequence[Rollout]]
) -> dict[str, tuple[float, float]]:
    """Sum of log P_S - log P_T over the tokens of one sample per problem, with the run's own teacher and context.

    Nothing without samples (greedy completions say nothing of an expectation) or without privileged text anywhere. A
    problem without it, which validation does not need, counts for nothing, and so does a held-out completion whose
    context would be made of siblings.
    """
    rollouts = [group[0] for group in groups]
    shown = sum(module.context.check(rollout.problem) is None for rollout in rollouts)
    # Under FSDP a forward is collective: if any process has privileged text, all score all of their completions.
    anywhere = global_means({"shown": (float(shown), float(len(rollouts)))}).get("shown", 0.0)
    if not anywhere or not rollouts:
        return {}
    delta, mask = data.collector.evidence(rollouts)
    return {"teacher_kl": (-float(delta[mask].sum()), float(mask.sum()))}
