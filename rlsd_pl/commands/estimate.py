"""How long a run takes, its evaluations included."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch import Trainer


@dataclass(frozen=True)
class RunTime:
    """Wall time of a run.

    Attributes:
        iterations: that are still to come, or all of a run that has not begun.
        iteration_seconds: of a rollout with its updates.
        evaluations: on held-out problems, the one before training included.
        evaluation_seconds: of each.
    """

    iterations: int
    iteration_seconds: float
    evaluations: int
    evaluation_seconds: float

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.iterations * self.iteration_seconds + self.evaluations * self.evaluation_seconds

    @property
    def evaluated_share(self) -> float:
        """What evaluations take of it."""
        return self.evaluations * self.evaluation_seconds / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        parts = [f"{self.iterations} iterations x {duration(self.iteration_seconds)}"]
        if self.evaluations:
            parts.append(f"{self.evaluations} evaluations x {duration(self.evaluation_seconds)}")
        return f"{' + '.join(parts)}: about {duration(self.seconds)}"


def evaluations(trainer: Trainer, done: int = 0) -> int:
    """Evaluations after ``done`` iterations: one every ``check_val_every_n_epoch`` of them and, where none is done, the
    one before training unless it is switched off."""
    if not trainer.limit_val_batches:
        return 0
    every, most = trainer.check_val_every_n_epoch or 1, trainer.max_epochs or 0
    before = done == 0 and trainer.num_sanity_val_steps > 0
    return int(before) + most // every - done // every


def duration(seconds: float) -> str:
    """In the unit that people would say it in."""
    for limit, unit, size in ((10, "s", 1.0), (120, "s", 1.0), (7200, "min", 60.0), (172_800, "h", 3600.0)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:.1f} days"
