"""Fit flags with several values: ``--grid.optimizer.lr 1e-4,2e-4``, and ranges for those who tune."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFIX = "grid."

Setting = tuple[tuple[str, str], ...]
"""One value for each axis: (flag without dashes, value)."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER})(:log)?")


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``; ``log`` draws them evenly by order of magnitude.

    Attributes:
        whole: integers alone, where both ends are written as such.
    """

    low: float
    high: float
    log: bool
    whole: bool

    @classmethod
    def read(cls, text: str) -> Range | None:
        """``LOW:HIGH`` or ``LOW:HIGH:log``; ``None`` for other text.

        Raises:
            ValueError: for ends that are no range.
        """
        match = _RANGE.fullmatch(text)
        if match is None:
            return None
        low, high = float(match[1]), float(match[2])
        if not low < high or (match[3] and low <= 0):
            raise ValueError(
                f"Got the range {text}; expected LOW:HIGH with LOW < HIGH, and LOW > 0 where it ends in :log."
            )
        whole = all(re.fullmatch(r"[-+]?\d+", end) for end in match.groups()[:2])
        return cls(low, high, bool(match[3]), whole)

    def text(self, value: float) -> str:
        """A number of the range as a flag's value: what runs and folders are given."""
        return str(round(value)) if self.whole else f"{value:.4g}"


Axis = Sequence[str] | Range
"""The values of one flag."""


def take_axes(flags: Sequence[str], ranges: bool) -> tuple[dict[str, Axis], list[str]]:
    """The axes by flag, in the order in which they are given, and the flags without them.

    Args:
        ranges: whether an axis may be a range.

    Raises:
        ValueError: for an axis without values, with equal ones, or of a flag that has a value already.
    """
    given, rest = take_prefixed(flags, PREFIX)
    taken = {flag.partition("=")[0].removeprefix("--") for flag in rest if flag.startswith("--")}
    axes: dict[str, Axis] = {}
    for name, text in given:
        if name in taken or name in axes:
            raise ValueError(f"Got --{PREFIX}{name} {text} and --{name} once more; expected each flag once.")
        axes[name] = (Range.read(text) if ranges else None) or _values(name, text)
    return axes, rest


def take_prefixed(flags: Sequence[str], prefix: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(name, value) of the flags ``--PREFIXname value`` and ``--PREFIXname=value``, and the other flags.

    Raises:
        ValueError: for one without a value.
    """
    found: list[tuple[str, str]] = []
    rest: list[str] = []
    left = iter(flags)
    for flag in left:
        if not flag.startswith(f"--{prefix}"):
            rest.append(flag)
            continue
        name, equals, value = flag.removeprefix(f"--{prefix}").partition("=")
        value = value if equals else next(left, "")
        if not name or not value or value.startswith("--"):
            raise ValueError(f"Got {flag} without a value; expected --{prefix}FLAG VALUE.")
        found.append((name, value))
    return found, rest


def _values(name: str, text: str) -> list[str]:
    values = split(text)
    if not all(values) or len(set(values)) < len(values):
        raise ValueError(f"Got --{PREFIX}{name} {text}; expected different values joined by commas, as in 1e-4,2e-4.")
    return values


def split(text: str) -> list[str]:
    """The parts between commas; those inside of brackets do not count."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def settings(axes: Mapping[str, Sequence[str]]) -> list[Setting]:
    """The product of all axes, the last one running fastest; one empty setting without any."""
    found: list[Setting] = [()]
    for name, values in axes.items():
        found = [(*setting, (name, value)) for setting in found for value in values]
    return found


def probes(axes: Mapping[str, Axis]) -> list[Setting]:
    """Few settings that hold every value of every axis, and the ends of ranges: what to try flags with."""
    columns = {
        name: [axis.text(axis.low), axis.text(axis.high)] if isinstance(axis, Range) else axis
        for name, axis in axes.items()
    }
    longest = max(map(len, columns.values()), default=1)
    return [
        tuple((name, values[min(row, len(values) - 1)]) for name, values in columns.items()) for row in range(longest)
    ]


def label(setting: Setting) -> str:
    """For people and folders: ``optimizer.lr=1e-4,data.group_size=8``."""
    return ",".join(f"{name}={value}" for name, value in setting)


def on_edge(setting: Setting, axes: Mapping[str, Axis]) -> list[str]:
    """The flags whose value lies at an end of at least two numbers: a better one may lie beyond."""
    found = []
    for name, value in setting:
        axis = axes[name]
        if isinstance(axis, Range):
            ends = (axis.text(axis.low), axis.text(axis.high))
        else:
            numbers = [number for number in map(_number, axis) if number is not None]
            if len(numbers) < 2 or len(numbers) < len(axis):
                continue
            ordered = sorted(axis, key=float)
            ends = (ordered[0], ordered[-1])
        if value in ends:
            found.append(name)
    return found


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(_NUMBER, text) else None
