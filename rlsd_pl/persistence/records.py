"""The records of a run, cut back to its checkpoint when it goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only

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


class MetricsLogger(CSVLogger):
    """Lightning's CSV logger, whose file a kill cannot empty.

    Lightning rewrites the file in place when a metric comes up for the first time.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _Writer(self.log_dir)
        return cast(ExperimentWriter, self._experiment)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left. Of a run that fails, the reason counts and not that its folder cannot be written."""
        with suppress(OSError) if status == "failed" else nullcontext():
            super().finalize(status)


class _Writer(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames)
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
