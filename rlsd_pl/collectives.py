"""Sums and means over all processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist

Sums = Mapping[str, tuple[float, float]]
"""Weighted sums by name: (sum of value * weight, sum of weights)."""


def process_count() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def global_sum(value: float, device: torch.device | str) -> float:
    """Sum over all processes, in float64."""
    if process_count() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.item()


def global_max(value: int, device: torch.device | str) -> int:
    """The largest of all processes."""
    if process_count() == 1:
        return value
    largest = torch.tensor(value, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def global_means(sums: Sums) -> dict[str, float]:
    """Weighted means over all processes. A name that only some processes have is averaged over those."""
    gathered: list[Sums] = [sums]
    if process_count() > 1:
        gathered = [{} for _ in range(process_count())]
        dist.all_gather_object(gathered, sums)
    return _means(gathered)


def _means(parts: Iterable[Sums]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (total, weight) in part.items():
            seen_total, seen_weight = totals.get(name, (0.0, 0.0))
            totals[name] = (seen_total + total, seen_weight + weight)
    return {name: total / weight for name, (total, weight) in totals.items() if weight > 0}
