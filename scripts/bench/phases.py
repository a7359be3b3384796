"""An iteration in its phases, without a Trainer: what the benchmarks time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from works import Work, prompt_texts, text_reward

from rlsd_pl import GroupedEngine, LiveTeacher, PolicyModule, SolutionContext
from rlsd_pl.contexts import RejectedAnswers
from rlsd_pl.objectives import Objective
from rlsd_pl.rollout import RolloutCollector, Sampler, Scorer
from rlsd_pl.rollout.collector import RolloutSet
from rlsd_pl.rollout.sampler import SampledGroups
from rlsd_pl.types import MicroBatch, Problem, RolloutBatch, Sampling, Status, Verdict
from rlsd_pl.verifiers import Verifier

TEMPLATE = "{{ privileged }}{{ prompt }}"


class HalfRight(Verifier):
    """Passes about half of all texts, and extracts the same answer from each."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer = answer

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self._one(text_reward(text) > 0.5) for text in texts]

    def _one(self, right: bool) -> Verdict:
        return Verdict(float(right), Status.PASS if right else Status.FAIL, answer=self.answer)


class Phases:
    """Rollout, scoring and update of one work, with weights that stay as they are (learning rate 0).

    Args:
        model: folder.
        privileged: tokens of the privileged text, and of the answers that are rejected.
    """

    def __init__(self, work: Work, model: Path, objective: Objective, privileged: int = 1) -> None:
        right, wrong = ("1", "2") if work.shape is None else ("w1 ", "w2 ")
        context, contrast = SolutionContext(template=TEMPLATE), RejectedAnswers(template=TEMPLATE)
        self.module = PolicyModule(objective, LiveTeacher(), context, name_or_path=str(model), contrast=contrast)
        self.module.configure_model()
        self.policy = self.module.policy
        if torch.cuda.is_available():
            self.module.to("cuda")
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=0.0)
        self.problems = [
            Problem(f"bench/{i}", [{"role": "user", "content": text}], privileged={"solution": right * privileged})
            for i, text in enumerate(prompt_texts(work, work.prompts))
        ]
        rows = work.prompts * work.group
        self.sampling = Sampling(work.completion, work.group)
        verifier = HalfRight(wrong * privileged)
        self.sampler = Sampler(policy=self.policy, engine=GroupedEngine(batch_size=rows), verifier=verifier)
        self.scorer = Scorer(
            policy=self.policy,
            teacher=self.module.teacher,
            context=context,
            contrast=contrast,
            verifier=verifier,
            temperature=1.0,
            batch_size=rows,
        )
        self.collector = RolloutCollector(
            sampler=self.sampler, scorer=self.scorer, objective=objective, sampling=self.sampling
        )

    def collect(self) -> RolloutSet:
        """Rollout and scoring."""
        return self.collector.collect(self.problems, 0, seed=0)

    def rollout(self) -> SampledGroups:
        return self.sampler.sample(self.problems, self.sampling, seed=0)

    def score(self, collected: RolloutSet) -> RolloutBatch:
        """All signals of the objective anew."""
        bare = replace(collected.batch, teacher=None, contrast=None)
        return self.scorer.with_signals(bare, collected.groups, self.module.objective.needs.signals)

    def loss(self, batch: RolloutBatch) -> torch.Tensor:
        count = float(self.module.objective.reduction.count(batch.loss_mask))
        micro = MicroBatch(batch, count, 1.0, int(batch.loss_mask.sum())).to(self.policy.device)
        return self.module.loss(micro)[0]

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def update(self, batch: RolloutBatch) -> None:
        """One optimizer step on one micro-batch."""
        self.loss(batch).backward()
        self.step()

    def iteration(self) -> None:
        self.update(self.collect().batch)
