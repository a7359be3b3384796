"""``scripts/audit_verifier.py``: completions near a verifier's border, for a person to look at."""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier

ROLLOUTS_FILE = "rollouts.jsonl"
_END, _CELL = 240, 60
_LONGEST_MATHEMATICS = 200
"""Characters of a reference that math-verify is asked about; longer ones are programs, queries or documents."""
_SIGHT = re.compile(r"\\boxed|####|answer\s*(?:is|:|=)|<answer>|```|<tool_call>|Action:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judged:
    """One completion with its verdict.

    Attributes:
        completion: its text.
        reference: the reference answer, empty if there is none.
        verdict: of the run, or of the verifier that was asked here.
        problem: id of its problem.
    """

    completion: str
    reference: str
    verdict: Verdict
    problem: str


def audit(
    source: str,
    verifier: Verifier | None = None,
    rows: int = 50,
    completion_column: str = "completion",
    answer_column: str = "answer",
    ask_math_verify: bool = True,
) -> None:
    """Print completions near the border of a verifier, and why each is shown.

    Args:
        source: a run folder (its ``rollouts.jsonl``, with the verdicts of the run), or a JSONL file.
        verifier: judges the rows of a JSONL file anew, by default :class:`~rlsd_pl.verifiers.MathVerifier` where they
            carry no verdict. All columns of a row are the problem's metadata.
        rows: completions to show; each reason gets its share.
        completion_column: of a JSONL file.
        answer_column: of a JSONL file, the reference.
        ask_math_verify: whether to ask math-verify about failed completions.

    Raises:
        ValueError: no such file, a line that is no JSON object, a column that is not there.
    """
    path = Path(source) / ROLLOUTS_FILE if Path(source).is_dir() else Path(source)
    judged = _judged(path, _read(path), verifier, completion_column, answer_column)
    found = [(reasons[0], each) for each in judged if (reasons := list(border(each, ask_math_verify)))]
    _show(Console(), judged, found, chosen(found, rows))


def border(judged: Judged, ask_math_verify: bool = True) -> Iterator[str]:
    """Why a person should look at a completion, the weightiest reason first; nothing for a clear case."""
    verdict, reference = judged.verdict, judged.reference
    if verdict.status is Status.ERROR:
        yield "the verifier failed"
    if verdict.status is Status.LIMIT:
        yield "limit"
    if verdict.status is Status.FAIL:
        if ask_math_verify and 0 < len(reference) <= _LONGEST_MATHEMATICS and _math_verify_accepts(judged):
            yield "failed, math-verify accepts"
        if reference and _plain(reference) in _plain(verdict.answer or ""):
            yield "failed, the reference is in the answer"
    if verdict.status is Status.INVALID:
        end = judged.completion[-_END:]
        if (reference and _plain(reference) in _plain(end)) or _SIGHT.search(end):
            yield "invalid, an answer in sight"
    if verdict.status is Status.PASS and reference and _plain(_form(verdict, reference)) != _plain(reference):
        yield "passed in another form"


def chosen(found: Sequence[tuple[str, Judged]], rows: int) -> list[tuple[str, Judged]]:
    """At most ``rows`` of them: reasons take turns, and equal answers to one reference are shown once."""
    by_reason: dict[str, dict[tuple[str, str], tuple[str, Judged]]] = {}
    for reason, each in found:
        key = each.verdict.answer or each.completion[-_END:], each.reference
        by_reason.setdefault(reason, {}).setdefault(key, (reason, each))
    turns = itertools.zip_longest(*(group.values() for group in by_reason.values()))
    taken = [each for turn in turns for each in turn if each is not None][:rows]
    return sorted(taken, key=lambda each: list(by_reason).index(each[0]))


def main(argv: Sequence[str]) -> None:
    """Read the command line; a mistake in it ends with status 2 and says what to set."""
    from jsonargparse import auto_cli

    import rlsd_pl.verifiers  # noqa: F401

    try:
        auto_cli(audit, args=list(argv), as_positional=True)
    except ValueError as error:
        sys.exit(f"error: {error}")


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise ValueError(f"got {str(path)!r}, expected a run folder with {ROLLOUTS_FILE} or a JSONL file")
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: got {type(row).__name__}, expected an object")
        found.append(row)
    return found


def _judged(
    path: Path, rows: list[dict[str, Any]], verifier: Verifier | None, completion_column: str, answer_column: str
) -> list[Judged]:
    recorded = verifier is None and all("status" in row and "completion" in row for row in rows)
    if recorded:
        return [_of_run(row) for row in rows]
    if verifier is None:
        from rlsd_pl.verifiers import MathVerifier

        verifier = MathVerifier()
    for number, row in enumerate(rows, start=1):
        if completion_column not in row:
            raise ValueError(
                f"{path}, line {number}: no column {completion_column!r} among {sorted(row)}; set --completion_column"
            )
    completions = [str(row[completion_column]) for row in rows]
    answers = [row.get(answer_column, row.get("reference_answer")) for row in rows]
    problems = [
        Problem(str(row.get("problem", number)), [], None if answer is None else str(answer), metadata=row)
        for number, (row, answer) in enumerate(zip(rows, answers, strict=True), start=1)
    ]
    verdicts = verifier.verify(completions, problems)
    verifier.close()
    return [
        Judged(text, problem.answer or "", verdict, problem.id)
        for text, problem, verdict in zip(completions, problems, verdicts, strict=True)
    ]


def _of_run(row: dict[str, Any]) -> Judged:
    verdict = Verdict(
        float(row.get("reward", 0.0)), Status(row["status"]), str(row.get("detail", "")), answer=row.get("answer")
    )
    return Judged(str(row["completion"]), str(row.get("reference_answer") or ""), verdict, str(row.get("problem", "")))


def _form(verdict: Verdict, reference: str) -> str:
    """What passed; where the verifier does not say, the tier of mathematics that had to look beyond the text."""
    beyond_text = verdict.detail.split(":")[0] in ("exact", "symbolic")
    return verdict.answer if verdict.answer is not None else verdict.detail if beyond_text else reference


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


def _math_verify_accepts(judged: Judged) -> bool:
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    try:
        target = parse(f"${judged.reference}$", raise_on_error=False)
        return bool(target) and verify(target, parse(judged.completion[-2000:], raise_on_error=False))
    except Exception:  # a library's opinion, asked for orientation only
        return False


def _show(
    console: Console, judged: Sequence[Judged], found: Sequence[tuple[str, Judged]], shown: Iterable[tuple[str, Judged]]
) -> None:
    statuses = Counter(each.verdict.status.value for each in judged)
    console.print(f"{len(judged)} completions: " + ", ".join(f"{n} {status}" for status, n in statuses.most_common()))
    console.print(
        "near the border: " + (", ".join(f"{n} {r}" for r, n in Counter(r for r, _ in found).items()) or "none")
    )
    table = Table("why", "verdict", "extracted", "reference", "end of the completion", show_lines=True)
    for reason, each in shown:
        verdict = f"{each.verdict.status} {each.verdict.detail}"
        cells = [reason, verdict, each.verdict.answer or "-", each.reference or "-"]
        table.add_row(*(_cell(text, _CELL) for text in cells), _cell(each.completion[-_END:], _END))
    if table.row_count:
        console.print(table)


def _cell(text: str, longest: int) -> Text:
    # what a terminal can print: no markup, no control characters, no lone surrogates
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return Text(shown.strip() if len(shown) <= longest else shown[:longest] + "...")
