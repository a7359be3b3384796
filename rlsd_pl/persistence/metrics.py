"""The metrics of a run as CSV."""

from __future__ import annotations

import csv
import io
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from rlsd_pl.persistence.storage import write_text


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
