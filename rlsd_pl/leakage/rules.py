"""Rules on logged metrics, and the alarms that they raise when they hold for several checks in a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any


class Rule(ABC):
    """Holds while a metric is where it should not be.

    Args:
        key: of any logged metric: ``leakage/`` and ``val/`` are checked at every evaluation, ``rollout/``, ``train/``
            ``leakage/gap`` and ``leakage/rollout_at_once`` in every iteration.
        limit: see the class.
        checks: measurements in a row for which the rule has to hold before it raises an alarm.

    Raises:
        ValueError: for a limit that is not finite, or no check.
    """

    says = ""

    def __init__(self, key: str, limit: float, checks: int = 2) -> None:
        self.key, self.limit, self.checks = key, limit, checks
        if checks < 1 or not math.isfinite(limit):
            raise ValueError(f"Got the rule '{self}'; expected a finite limit and at least 1 check.")

    @abstractmethod
    def holds(self, value: float, first: float) -> bool:
        """Whether ``value`` is where it should not be; ``first`` is the run's first value: that of the initial policy
        where it was evaluated."""

    def __str__(self) -> str:
        return f"{self.key} {self.says} {self.limit:g} for {self.checks} checks"


class Above(Rule):
    """The value is above the limit."""

    says = "above"

    def holds(self, value: float, first: float) -> bool:
        return value > self.limit


class Below(Rule):
    """The value is below the limit."""

    says = "below"

    def holds(self, value: float, first: float) -> bool:
        return value < self.limit


class Beyond(Rule):
    """The value is further from 0 than the limit, on either side: for drifts."""

    says = "off 0 by more than"

    def holds(self, value: float, first: float) -> bool:
        return abs(value) > self.limit


class Rises(Rule):
    """The value is above the first one by more than the limit."""

    says = "above its first value by more than"

    def holds(self, value: float, first: float) -> bool:
        return value - first > self.limit


class Falls(Rule):
    """The value is below the first one by more than the limit."""

    says = "below its first value by more than"

    def holds(self, value: float, first: float) -> bool:
        return first - value > self.limit


def default_rules() -> list[Rule]:
    """Rules of a run that names none.

    The first is the one that comes early: in the lab, 5 to 9 iterations before the accuracy of OPSD and SDPO fell, on
    ten runs of ten. Its limit was chosen on seeds 0 and 1. In the long lab it is not early enough: 7 or 8 iterations
    before three of five falls of OPSD, too late or not at all for two, and 2 to 4 before SDPO's. It sees one way to
    collapse, answers without reasoning, and was raised without cause too, mostly at a high learning rate. The rule on
    hollow answers comes with the fall or after it; it asks for two evaluations in a row, since the first updates at a
    high rate make one pass by themselves.
    The last two have never been seen to come early. docs/leakage.md has the figures.
    """
    return [
        Rises("leakage/rollout_at_once", 0.003, checks=3),
        Above("leakage/hollow_rate", 0.2, checks=2),
        Above("leakage/phrase_rate", 0.05, checks=1),
        Beyond("leakage/length_drift", 0.5, checks=1),
    ]


class Alarms:
    """Counts how long each rule has held. The same on a run's rows as within it.

    Args:
        rules: a metric may have several.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.first: dict[str, float] = {}
        self.held = [0] * len(self.rules)

    def check(self, metrics: Mapping[str, float]) -> list[Rule]:
        """The rules that have now held for ``checks`` measurements, or for another ``checks`` since.

        Args:
            metrics: what was measured at this check. A rule whose metric is absent or NaN is left as it was.
        """
        raised: list[Rule] = []
        for place, rule in enumerate(self.rules):
            value = metrics.get(rule.key)
            if value is None or math.isnan(value):
                continue
            first = self.first.setdefault(rule.key, value)
            self.held[place] = self.held[place] + 1 if rule.holds(value, first) else 0
            if self.held[place] and self.held[place] % rule.checks == 0:
                raised.append(rule)
        return raised

    @property
    def raised(self) -> list[Rule]:
        """The rules that hold now and have for their number of checks."""
        return [rule for rule, held in zip(self.rules, self.held, strict=True) if held >= rule.checks]

    def state_dict(self) -> dict[str, Any]:
        """First values by key, and counts by rule: other rules of a resumed run begin anew."""
        return {"first": dict(self.first), "held": {str(r): n for r, n in zip(self.rules, self.held, strict=True)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.first = dict(state["first"])
        self.held = [state["held"].get(str(rule), 0) for rule in self.rules]
