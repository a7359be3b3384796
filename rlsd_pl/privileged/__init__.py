"""Privileged data: reference solutions that a verifier passed, or documents, as one more column of a table.

The names load on first use: the worker that solves equations imports this package too, and must not pay for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlsd_pl.privileged.build import Builder as Builder
    from rlsd_pl.privileged.build import Record as Record
    from rlsd_pl.privileged.documents import Documents as Documents
    from rlsd_pl.privileged.report import Coverage as Coverage
    from rlsd_pl.privileged.report import stands_in as stands_in
    from rlsd_pl.privileged.solver_source import SolverSource as SolverSource
    from rlsd_pl.privileged.sources import EndpointSource as EndpointSource
    from rlsd_pl.privileged.sources import EngineSource as EngineSource
    from rlsd_pl.privileged.sources import Source as Source

_MODULE_OF = {
    "Builder": "build",
    "Coverage": "report",
    "Documents": "documents",
    "EndpointSource": "sources",
    "EngineSource": "sources",
    "Record": "build",
    "SolverSource": "solver_source",
    "Source": "sources",
    "stands_in": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
