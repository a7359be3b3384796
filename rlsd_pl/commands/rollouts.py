"""``rlsd-pl rollouts``: recorded rollouts of a run in the terminal, tokens tinted by their credit. Loads no torch."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from rlsd_pl.commands.credit_map import clean, printable, write_credit_page
from rlsd_pl.commands.help import fail
from rlsd_pl.commands.runs import newest_run

FILE = "rollouts.jsonl"
STATUSES = ("pass", "fail", "invalid", "limit", "error")
PALE, RED, BLUE = (247, 247, 247), (214, 96, 77), (67, 147, 195)

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Closed, ``low:high``; either end may be left out, and one number stands for itself."""

    low: float
    high: float

    @classmethod
    def read(cls, text: str) -> Range:
        low, colon, high = text.partition(":")
        try:
            found = cls(float(low or -math.inf), float((high if colon else low) or math.inf))
        except ValueError:
            found = cls(math.nan, math.nan)
        if not text.strip(": ") or not found.low <= found.high:  # true of nan too
            raise argparse.ArgumentTypeError(f"got {text!r}; expected a number or a range LOW:HIGH, for example 3:10")
        return found

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def statuses(text: str) -> frozenset[str]:
    """Names that are parted by commas."""
    names = frozenset(name.strip() for name in text.split(","))
    if unknown := sorted(names - set(STATUSES)):
        raise argparse.ArgumentTypeError(f"got {unknown[0]!r}; expected some of {', '.join(STATUSES)}")
    return names


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number of at least 1")
    return int(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}. See --help.")


def parser() -> argparse.ArgumentParser:
    """Of the command."""
    made = _Parser(
        "rlsd-pl rollouts",
        description="Recorded rollouts of a run, tokens tinted by their credit: blue raises a token's probability, red "
        "lowers it.",
        allow_abbrev=False,
    )
    made.add_argument("run", metavar="RUN", help="a run folder, or 'last' for the newest one")
    made.add_argument("--iteration", type=Range.read, metavar="N|LOW:HIGH", help="only these iterations")
    made.add_argument("--status", type=statuses, metavar="A,B", help=f"only these: {', '.join(STATUSES)}")
    made.add_argument("--reward", type=Range.read, metavar="X|LOW:HIGH", help="only rewards in this range")
    made.add_argument("--problem", metavar="TEXT", help="only problems whose id holds this text")
    made.add_argument("--limit", type=count, default=8, metavar="N", help="most completions that are shown (default 8)")
    made.add_argument("--html", type=Path, metavar="FILE", help="also write them as a credit map, a page for a browser")
    order = made.add_mutually_exclusive_group()
    order.add_argument("--best", action="store_true", help="highest rewards first")
    order.add_argument("--worst", action="store_true", help="lowest rewards first")
    return made


def main(argv: Sequence[str]) -> int:
    """Show rollouts.

    Returns:
        The exit status: 1 if none matches.
    """
    asked = parser().parse_args(list(argv))
    path = _file(asked.run)
    found = [record for record in read(path) if _wanted(record, asked)]
    if asked.best or asked.worst:
        found.sort(key=lambda record: record["reward"], reverse=asked.best)
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print(_nothing(path), markup=False)
        return 1
    shown = found[: asked.limit]
    largest = max((abs(x) for record in shown for x in record.get("token_advantages") or ()), default=0.0)
    for record in shown:
        console.print(rendered(record, largest))
        console.print()
    console.print(f"{len(shown)} of {len(found)} matching completions in {path}.", markup=False)
    if asked.html is not None:
        write_credit_page(shown, asked.html, str(path.parent))
        console.print(f"The credit map is in {asked.html}.", markup=False)
    return 0


def _file(run: str) -> Path:
    try:
        folder = newest_run() if run == "last" else Path(run)
    except ValueError as error:
        fail(str(error).replace("--resume last", "rollouts last"))
    path = folder / FILE
    if not path.is_file():
        fail(f"{folder} holds no {FILE}. Expected the folder of a run that has begun, with the callback RolloutLog.")
    return path


def read(path: Path) -> Iterator[Record]:
    """The whole records of a file; the last line may just be being written."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except ValueError:
                fail(f"{path}, line {number}, is no JSON. Expected what a run writes, one record a line.")


def _wanted(record: Record, asked: argparse.Namespace) -> bool:
    return (
        (asked.iteration is None or record["iteration"] in asked.iteration)
        and (asked.status is None or record["status"] in asked.status)
        and (asked.reward is None or record["reward"] in asked.reward)
        and (asked.problem is None or asked.problem in record["problem"])
    )


def _nothing(path: Path) -> str:
    records = list(read(path))
    if not records:
        return f"{path} holds no records yet."
    iterations, rewards = [r["iteration"] for r in records], [r["reward"] for r in records]
    there = ", ".join(name for name in STATUSES if any(r["status"] == name for r in records))
    return (
        f"Nothing matches. {path} holds {len(records)} completions of iterations {min(iterations)} to "
        f"{max(iterations)}, rewards {min(rewards):g} to {max(rewards):g}, statuses {there}."
    )


def rendered(record: Record, largest: float) -> Text:
    """A head, the prompt, and the completion with its tokens tinted.

    Args:
        largest: credit of the deepest tint.
    """
    expected = f" (expected {record['reference_answer']})" if record.get("reference_answer") is not None else ""
    cut = ", truncated" if record["truncated"] else ""
    text = Text()
    text.append(
        printable(
            f"iteration {record['iteration']}  {record['problem']}  {record['status']} ({record['detail']}{cut})  "
            f"reward {record['reward']:g}  advantage {record['advantage']:+.2f}  answer {record['answer']}{expected}\n"
        ),
        "bold",
    )
    text.append(printable(record["prompt"]) + "\n", "dim")
    credits = record.get("token_advantages")
    if not credits or largest == 0:
        return text.append(printable(record["completion"]))
    for token, credit in zip(record["tokens"], credits, strict=False):
        text.append(printable(clean(token)), tint(credit / largest))
    return text


def tint(share: float) -> str:
    """A style whose ground goes from pale to red (-1) or blue (1)."""
    end = BLUE if share > 0 else RED
    r, g, b = (round(p + (e - p) * min(abs(share), 1.0)) for p, e in zip(PALE, end, strict=True))
    return f"black on rgb({r},{g},{b})"
