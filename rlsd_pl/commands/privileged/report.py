"""What share of problems got privileged text, and which problems give their answer away."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlsd_pl.types import Problem

SHOWN = 10


def stands_in(problem: Problem, text: str | None = None) -> bool:
    """True if ``text``, by default the answer, stands in the prompt as words of its own: then privileged text tells
    nothing new.

    A short answer may stand there by chance (``2`` in a problem with several numbers), so this is counted, not refused.
    """
    found, prompt = (
        " ".join(each.split()) for each in ((problem.answer or "") if text is None else text, problem.prompt)
    )
    return bool(found) and re.search(rf"(?<![\w.]){re.escape(found)}(?!\w|\.\d)", prompt, re.I) is not None


@dataclass
class Coverage:
    """Counts over the problems of a table.

    Attributes:
        problems: how many there are. covered: how many have privileged text.
        not_solved: how many got no proposal at all, so nothing that could have been wrong.
        proposals: completions judged. statuses: their verdicts.
        answer_in_prompt: ids of problems whose answer stands in the prompt.
    """

    problems: int = 0
    covered: int = 0
    not_solved: int = 0
    proposals: int = 0
    statuses: Counter[str] = field(default_factory=Counter[str])
    answer_in_prompt: list[str] = field(default_factory=list[str])

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(vars(self), indent=2) + "\n")

    def show(self, console: Console) -> None:
        """As a table, with the first leaking problems."""
        table = Table("privileged data", "", box=None)
        table.add_row("problems", str(self.problems))
        table.add_row("covered", f"{self.covered} ({self.covered / max(self.problems, 1):.1%})")
        if self.not_solved:
            table.add_row("not solved: nothing proposed", str(self.not_solved))
        if self.proposals:
            table.add_row("proposals", str(self.proposals))
        for status, count in self.statuses.most_common():
            table.add_row(f"  {status}", f"{count} ({count / self.proposals:.1%})")
        table.add_row("answer stands in the prompt", str(len(self.answer_in_prompt)))
        console.print(table)
        if self.answer_in_prompt:
            more = ", ..." if len(self.answer_in_prompt) > SHOWN else ""
            console.print(f"Look at {', '.join(self.answer_in_prompt[:SHOWN])}{more}")
