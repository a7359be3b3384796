"""How far the log-probs of an engine with kernels of its own are from the trainer's."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.collectives import Sums
from rlsd_pl.engines.base import Engine
from rlsd_pl.engines.scoring import scored
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Sampling

MEAN, LARGEST = "perf/rollout_mismatch", "perf/rollout_mismatch_max"


class ForeignEngine(Engine):
    """An engine whose log-probs are not bit by bit the trainer's, which is measured at each call.

    Args:
        rescore: put the policy's own log-probs in place of the engine's, for one forward over all completions. Without
            it, the mismatch is in everything that compares with what was recorded, such as RLSD's evidence.
        checked: completions per call that are scored to measure the mismatch; 0 measures nothing.
    """

    def __init__(self, rescore: bool, checked: int) -> None:
        if checked < 0:
            raise ValueError(f"Got engine.checked={checked}; expected 0 or more.")
        self.rescore, self.checked = rescore, checked
        self._sum = self._tokens = self._largest = 0.0

    def metrics(self) -> Sums:
        if not self._tokens:
            return {}
        found = {MEAN: (self._sum, self._tokens), LARGEST: (self._largest, 1.0)}
        self._sum = self._tokens = self._largest = 0.0
        return found

    def _settled(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        groups: list[list[Completion]],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """The completions to return, their mismatch measured; rescored ones where :meth:`_rescores` says so."""
        if self._rescores(sampling):
            new = scored(policy, prompts, groups, sampling.temperature)
            if not sampling.truncated:
                self._measure(groups, new)
            return new
        rows = [(prompt, c) for prompt, group in zip(prompts, groups, strict=True) for c in group]
        if some := rows[:: max(1, len(rows) // self.checked)][: self.checked] if self.checked else []:
            recorded = [[c] for _, c in some]
            self._measure(recorded, scored(policy, [prompt for prompt, _ in some], recorded, sampling.temperature))
        return groups

    def _rescores(self, sampling: Sampling) -> bool:
        """Log-probs of a distribution that top-k or top-p has cut are not those that training wants."""
        return self.rescore or sampling.truncated

    def _measure(self, recorded: Sequence[Sequence[Completion]], own: Sequence[Sequence[Completion]]) -> None:
        for engines, policys in zip(recorded, own, strict=True):
            for a, b in zip(engines, policys, strict=True):
                gaps = [abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=True)]
                self._sum += sum(gaps)
                self._tokens += len(gaps)
                self._largest = max(self._largest, *gaps)
