"""The records of a run, cut back to its checkpoint when it goes on. Loads no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from rlsd_pl.persistence.storage import replacing, write_text

FINISHED = "finished.json"
"""Written when a run has trained its last iteration and exported what it makes of it."""


def cut_back(folder: Path, iteration: int) -> None:
    """Drop records of later iterations than ``iteration``, whose checkpoints were never finished, and torn lines.

    Args:
        folder: of the run.
        iteration: the last one that counts; those after it are trained again.
    """
    rollouts = folder / "rollouts.jsonl"
    if rollouts.exists():
        _rewrite(rollouts, _records_until(rollouts, iteration))
    for metrics in sorted((folder / "csv").glob("version_*/metrics.csv")):
        _rewrite(metrics, _rows_until(metrics, iteration))
    (folder / FINISHED).unlink(missing_ok=True)


def _rewrite(path: Path, lines: Iterator[bytes]) -> None:
    with replacing(path) as file:
        file.writelines(lines)


def _records_until(path: Path, iteration: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and json.loads(line)["iteration"] <= iteration:
                yield line


def _rows_until(path: Path, iteration: int) -> Iterator[bytes]:
    with path.open(newline="") as file:
        rows = csv.DictReader(line for line in file if line.endswith("\n"))
        if rows.fieldnames is None:
            return
        kept = io.StringIO(newline="")
        writer = csv.DictWriter(kept, rows.fieldnames, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row["step"] and int(row["step"]) <= iteration)
        yield kept.getvalue().encode()


def write_finished(folder: Path, iteration: int) -> None:
    """Note that the run is complete up to ``iteration``, with all that follows training."""
    write_text(folder / FINISHED, json.dumps({"iterations": iteration}) + "\n")


def finished_at(folder: Path) -> int:
    """The iteration up to which a run is complete with its export; 0 if that never came to an end."""
    path = folder / FINISHED
    return int(json.loads(path.read_text())["iterations"]) if path.exists() else 0
