"""kill -9 at random moments, again and again: the run that goes on is the uninterrupted one, bit for bit.

More kills: ``RLSD_PL_KILLS=40 pytest tests/test_kill_campaign.py -s``, which prints where they struck.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from rlsd_pl.commands.runs import RUN_DIR_VARIABLE
from rlsd_pl.persistence.checkpoints import newest_good, saved

KILLS = int(os.environ.get("RLSD_PL_KILLS", "10"))
ITERATIONS = 4
RUN = [
    *("--objective", "rlsd", "--trainer", "cpu", "--num_threads", "1", "--teacher", "rlsd_pl.teachers.PeriodicTeacher"),
    *("--teacher.every", "2", "--data.prompts_per_rollout", "2", "--data.group_size", "4", "--data.val_problems", "2"),
    *(
        "--data.val_samples",
        "1",
        "--data.max_completion_tokens",
        "24",
        "--trainer.check_val_every_n_epoch",
        "2",
        "--trainer.max_epochs",
        str(ITERATIONS),
    ),
]

# Processes are forked from one that has the libraries loaded: most of a run's time would be their import.
processes: Any = multiprocessing.get_context("forkserver")
LOADED = ["rlsd_pl.commands.cli", "rlsd_pl.callbacks", "torch.utils.tensorboard", "matplotlib.pyplot", "datasets"]
processes.set_forkserver_preload(LOADED)

Moment = Literal["checkpoint", "export", "time"]


def train(argv: list[str], temporary: str, log: str) -> None:
    """The command in a process of its own."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ["TMPDIR"], tempfile.tempdir = temporary, None
    os.environ.pop(RUN_DIR_VARIABLE, None)
    from rlsd_pl.commands.cli import fit

    fit(argv)


class Campaign:
    """Runs, and what strikes them."""

    def __init__(self, folder: Path, temporary: Path, seed: int) -> None:
        self.folder, self.temporary, self.random = folder, temporary, random.Random(seed)
        self.log = folder / "log"
        self.struck: Counter[str] = Counter()
        self.whole = folder / "whole"
        start = time.monotonic()
        self.finish(self.whole)
        self.seconds = time.monotonic() - start

    def start(self, run: Path) -> Any:
        """The command, or the one that goes on where an iteration is saved."""
        argv = ["--resume", str(run)] if saved(run / "checkpoints") else [*RUN, "--run_dir", str(run)]
        process = processes.Process(target=train, args=(argv, str(self.temporary), str(self.log)))
        process.start()
        return process

    def finish(self, run: Path) -> None:
        process = self.start(run)
        process.join(300)
        assert process.exitcode == 0, self.log.read_text()[-3000:]

    def strike(self, run: Path, moment: Moment) -> bool:
        """Kill a run at a random time, or when it writes a checkpoint or the export; False if it ended before."""
        process, began = self.start(run), time.monotonic()
        at, count = self.random.uniform(0, self.seconds), self.random.randrange(1, ITERATIONS)
        while process.is_alive():
            late = time.monotonic() - began
            if moment == "time" and late > at:
                break
            if moment == "export" and (run / "hf.partial").exists():
                break
            if moment == "checkpoint" and len(list(run.glob(f"checkpoints/*{count}.ckpt.partial"))):
                break
            time.sleep(0.0005)
        process.kill()
        process.join()
        struck = process.exitcode == -9
        if struck:
            self.struck[f"{moment}, {len(saved(run / 'checkpoints'))} checkpoints"] += 1
        return struck


def rows(run: Path) -> dict[tuple[str, int], str]:
    """What is logged but for times, by key and iteration, as written; no iteration may stand there twice."""
    found: dict[tuple[str, int], str] = {}
    for path in run.glob("csv/*/metrics.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for key, value in row.items():
                    if value and key != "step" and not key.startswith("perf/"):
                        place = (key, int(row["step"]))
                        assert place not in found
                        found[place] = value
    return found


def same(run: Path, whole: Path) -> None:
    assert rows(run) == rows(whole)
    assert (run / "rollouts.jsonl").read_bytes() == (whole / "rollouts.jsonl").read_bytes()
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert (run / "hf" / name).read_bytes() == (whole / "hf" / name).read_bytes()
    one, two = (torch.load(newest_good(each / "checkpoints"), weights_only=True) for each in (run, whole))
    assert one["epoch"] == two["epoch"]
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
    assert json.dumps(plain(one["optimizer_states"])) == json.dumps(plain(two["optimizer_states"]))
    assert json.loads((run / "finished.json").read_text()) == {"iterations": ITERATIONS}
    assert not list(run.rglob("*.partial"))
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())


def plain(value: Any) -> Any:
    """Tensors as lists of their values, in which equal bits are equal texts."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("temporary", ["same disk", "/dev/shm"])
def test_a_run_that_is_killed_at_random_is_the_uninterrupted_one(temporary, tmp_path):
    if temporary == "/dev/shm" and not os.access(temporary, os.W_OK):
        pytest.skip("no second file system")
    elsewhere = tmp_path if temporary == "same disk" else Path(tempfile.mkdtemp(dir=temporary))
    campaign = Campaign(tmp_path, elsewhere, seed=7)
    kills = ended = trials = 0
    while kills < KILLS:
        run = tmp_path / f"run-{trials}"
        trials += 1
        # A resumed run is struck too.
        for moment in campaign.random.choices(
            ["checkpoint", "export", "time", "time"], k=campaign.random.randint(1, 3)
        ):
            if campaign.strike(run, moment):
                kills += 1
            else:
                ended += 1
        campaign.finish(run)
        same(run, campaign.whole)
    print(f"{kills} kills of {trials} runs, {ended} strikes too late, TMPDIR on {temporary}: all equal.")
    print("\n".join(f"  {count} x {place}" for place, count in sorted(campaign.struck.items())))
    if elsewhere != tmp_path:
        assert not list(elsewhere.iterdir()), "what is left in TMPDIR"
        elsewhere.rmdir()
