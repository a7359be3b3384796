"""Numbers that settings may hold; what lies outside is refused when a part is made."""

from __future__ import annotations

import math

from rlsd_pl.errors import SetupError

MOST = 10_000_000
"""Largest count of anything: completions, tokens, rounds. More is a slip of the finger and ends in memory errors."""


def check_count(setting: str, value: int, least: int = 1, most: int = MOST) -> None:
    """Raises :class:`SetupError` unless ``least <= value <= most``."""
    if not least <= value <= most:
        raise SetupError(f"Got {setting}={value}; expected a whole number from {least} to {most}.")


def check_share(setting: str, value: float) -> None:
    """Raises :class:`SetupError` unless ``value`` is in [0, 1]; nan is not."""
    if not 0 <= value <= 1:
        raise SetupError(f"Got {setting}={value}; expected a share from 0 to 1.")


def check_number(setting: str, value: float, low: float, high: float, why: str) -> None:
    """Raises :class:`SetupError` unless ``low <= value <= high`` and finite."""
    if not (low <= value <= high and math.isfinite(value)):
        raise SetupError(f"Got {setting}={value}; expected a number from {low:g} to {high:g}: {why}.")
