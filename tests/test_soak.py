"""Long runs: memory, descriptors and threads of the process stay where they are."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from rlsd_pl.commands.runs import RUN_DIR_VARIABLE
from tests.conftest import REPOSITORY

SMALL = [
    *("--trainer", "cpu", "--data.prompts_per_rollout", "2", "--data.group_size", "4", "--data.val_problems", "4"),
    *("--data.val_samples", "2", "--trainer.check_val_every_n_epoch", "50", "--num_threads", "1"),
]


class Usage(NamedTuple):
    """Of one process: MiB, open files, threads."""

    resident: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        status = dict(
            line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        resident = float(status["VmRSS"].split()[0]) / 1024
        return cls(resident, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]))


def finished(run: Path) -> int:
    return max((int(path.stem.rpartition("-")[2]) for path in (run / "checkpoints").glob("*.ckpt")), default=0)


def soak(arguments: list[str], run: Path, log: Path) -> dict[int, Usage]:
    """Usage by iteration, as seen from outside."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *SMALL, *arguments, "--run_dir", str(run)]
    environment = {name: value for name, value in os.environ.items() if name != RUN_DIR_VARIABLE}
    seen: dict[int, Usage] = {}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        while process.poll() is None:
            try:
                seen[finished(run)] = Usage.of(process.pid)
            except (OSError, KeyError, ValueError):  # it is just leaving
                break
            time.sleep(0.2)
        assert process.wait() == 0, log.read_text()[-2000:]
    return seen


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(("model", "iterations"), [("lab", 500), ("tiny", 200)])
def test_a_long_run_keeps_its_memory_descriptors_and_threads(model, iterations, tiny_model, problem_file, tmp_path):
    arguments = ["--objective", "rlsd", "--trainer.max_epochs", str(iterations)]
    if model == "tiny":
        arguments += ["--model", str(tiny_model), "--task", "jsonl", "--task.path", str(problem_file)]
        arguments += ["--task.prompt_column", "question", "--data.max_completion_tokens", "16"]
    seen = soak(arguments, tmp_path / "run", tmp_path / "log")
    early = [usage for iteration, usage in seen.items() if iterations * 0.2 < iteration <= iterations * 0.4]
    late = [usage for iteration, usage in seen.items() if iterations * 0.8 < iteration < iterations]
    assert len(early) > 5
    assert len(late) > 5
    medians = [[statistics.median(values) for values in zip(*part, strict=True)] for part in (early, late)]
    print(f"{model}, {iterations} iterations: early {medians[0]}, late {medians[1]} (MiB, descriptors, threads)")
    assert medians[1][0] < medians[0][0] * 1.05 + 5
    assert medians[1][1] <= medians[0][1] + 1
    assert medians[1][2] <= medians[0][2]
