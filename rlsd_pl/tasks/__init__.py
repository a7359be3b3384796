"""Tasks: where problems come from."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rlsd_pl.tasks.base import Split, Task

if TYPE_CHECKING:
    from rlsd_pl.tasks.reasoning_gym import ReasoningGymTask
    from rlsd_pl.tasks.table import TableTask

__all__ = ["ReasoningGymTask", "Split", "TableTask", "Task"]

_MODULE_OF = {"ReasoningGymTask": "reasoning_gym", "TableTask": "table"}


def __getattr__(name: str) -> Any:
    """Import on first use: ``datasets`` takes a second that the lab does not need."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
