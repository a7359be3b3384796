"""Tasks: where problems come from."""

from typing import TYPE_CHECKING, Any

from rlsd_pl.tasks.base import Split, Task

if TYPE_CHECKING:
    from rlsd_pl.tasks.table import TableTask

__all__ = ["Split", "TableTask", "Task"]


def __getattr__(name: str) -> Any:
    """Import ``TableTask`` on first use: ``datasets`` takes a second that the lab does not need."""
    if name != "TableTask":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rlsd_pl.tasks.table import TableTask

    return TableTask
