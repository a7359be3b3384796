"""Teachers made of the policy's own weights, now or earlier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rlsd_pl.policy import Policy
from rlsd_pl.teachers.base import Snapshot, Teacher


class LiveTeacher(Teacher):
    """The policy itself, as it stands when it scores: at rollout time."""

    same_weights = True

    @contextmanager
    def scoring(self, policy: Policy) -> Iterator[Policy]:
        yield policy


class SnapshotTeacher(Teacher):
    """A copy of the policy's weights; a subclass says how it follows the policy."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = Snapshot()

    def bind(self, policy: Policy) -> None:
        self.snapshot.copy_from(policy)

    def scoring(self, policy: Policy) -> AbstractContextManager[Policy]:
        return self.snapshot.swapped_in(policy)


class FrozenTeacher(SnapshotTeacher):
    """The initial policy. Under LoRA that is the base model with its adapters off, and nothing is copied."""

    def bind(self, policy: Policy) -> None:
        if not policy.has_adapters:
            super().bind(policy)

    @contextmanager
    def scoring(self, policy: Policy) -> Iterator[Policy]:
        with policy.adapters_off() if policy.has_adapters else super().scoring(policy):
            yield policy


class PeriodicTeacher(SnapshotTeacher):
    """A hard copy of the policy, refreshed every ``every`` iterations (RLSD: 10).

    Args:
        every: n >= 1; after iterations n, 2n, ... the copy is renewed.
    """

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"Got teacher.every={every}; expected at least 1. Use the live teacher for 'always'.")
        self.every = every

    def after_iteration(self, policy: Policy, iteration: int) -> None:
        if (iteration + 1) % self.every == 0:
            self.snapshot.copy_from(policy)


class EMATeacher(SnapshotTeacher):
    """An exponential moving average of the policy: theta_T <- decay * theta_T + (1 - decay) * theta per iteration.

    With LoRA it is the average of the trainable tensors A and B apart, not of their product, which no tensors of the
    same rank could hold; for slowly moving adapters the two are close.

    Args:
        decay: in [0, 1); .95 is SDPO's update rate of .05 (2601.20802).
    """

    def __init__(self, decay: float = 0.95) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(
                f"Got teacher.decay={decay}; expected a number in [0, 1). Use the frozen teacher for 'never'."
            )
        self.decay = decay

    def after_iteration(self, policy: Policy, iteration: int) -> None:
        self.snapshot.move_towards(policy, self.decay)
