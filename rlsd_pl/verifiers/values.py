"""Numbers as people return them: Python's, numpy's, tensors of one element."""

from __future__ import annotations

import math
from typing import Any


def as_number(value: Any) -> float | None:
    """A finite float from a number, a bool, a numpy scalar or a 0-d array or tensor; ``None`` for all else."""
    if not isinstance(value, bool | int | float):
        if getattr(value, "shape", None) != () or not callable(getattr(value, "item", None)):
            return None
        value = value.item()
        if not isinstance(value, bool | int | float):
            return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
