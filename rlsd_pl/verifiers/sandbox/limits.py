"""What one sandboxed process may use."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd_pl.verifiers.budget import check_limits


@dataclass(frozen=True)
class Limits:
    """Ceilings of one run. Reaching one is the verdict ``limit``.

    Attributes:
        cpu_seconds: CPU time of each process.
        wall_seconds: time from start to verdict of the run; the parent keeps this clock.
        memory_bytes: address space of each process.
        output_bytes: what the parent reads from a run; also the size of one value that crosses.
        scratch_bytes: size of the private temporary folder. Only level L3 has one; below it nothing is writable.
        open_files: descriptors of each process.
        batch_seconds: time, on all CPUs in use, that a batch may lose to programs that reach their limits before it
            shortens the limits of the rest; see :class:`~rlsd_pl.verifiers.budget.Budget`.
    """

    cpu_seconds: int = 3
    wall_seconds: float = 6.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 1 << 20
    scratch_bytes: int = 16 << 20
    open_files: int = 64
    batch_seconds: float = 20.0

    def __post_init__(self) -> None:
        check_limits(self)

    def short(self) -> ShortLimits:
        """The limits of a first attempt in a batch that has lost too much."""
        return ShortLimits(min(self.cpu_seconds, max(0.3, self.cpu_seconds / 10)), self.wall_seconds / 3)


@dataclass(frozen=True)
class ShortLimits:
    """``cpu_seconds`` of all processes of a run, start-up included, and ``idle_seconds`` in which none computes."""

    cpu_seconds: float
    idle_seconds: float

    def __str__(self) -> str:
        return f"{self.cpu_seconds:.1f} s of CPU time and {self.idle_seconds:g} s of waiting"
