"""A folder that really cannot be written. Rights do not bind root, so these runs give that privilege away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MID_RUN = """
import os, sys
from pathlib import Path
from lightning.pytorch import Callback
from rlsd_pl.commands.lifecycle import reported
from rlsd_pl.commands.runs import RunFolder
from tests.loops import fit

folder = Path(sys.argv[1])

class Lock(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.current_epoch == 1:
            for place in (folder / "checkpoints", folder):
                place.chmod(0o555)

with reported(RunFolder(folder, started=True)):
    fit(folder, 4, callbacks=[Lock()])
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write into, but for ``own`` in it."""
    folder = tmp_path / "place"
    (folder / "own").mkdir(parents=True)
    folder.chmod(0o555)
    yield folder
    for path in (folder, folder / "own" / "run", folder / "own" / "run" / "checkpoints"):
        if path.exists():
            path.chmod(0o755)  # so that pytest can remove them


def unprivileged(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Python as a user whom rights bind; skips where that cannot be had."""
    prefix: list[str] = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("runs as root, without setpriv")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
        if (
            subprocess.run([*prefix, "touch", str(home.parent / "probe")], capture_output=True, check=False).returncode
            == 0
        ):
            pytest.skip("runs as root, and cannot give its privileges away")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [*prefix, sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_refused_before_training(place):
    script = str(REPOSITORY / "scripts" / "fit.py")
    done = unprivileged(script, "--objective", "rlvr", "--run_dir", str(place / "run"), home=place / "own")
    assert done.returncode == 74, done.stderr[-2000:]
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {place / 'run'} cannot be written: Permission denied. Set --run_dir to a folder")
    assert sorted(path.name for path in place.iterdir()) == ["own"]


@pytest.mark.slow
def test_a_folder_that_is_made_read_only_in_mid_run_keeps_its_last_iteration(place):
    run = place / "own" / "run"
    done = unprivileged("-c", MID_RUN, str(run), home=place / "own")
    assert done.returncode == 74, done.stderr[-2000:]
    told = done.stderr.strip().splitlines()[-1]
    assert told.startswith(f"error: {run}")
    assert "cannot be written: Permission denied" in told
    assert f"1 iterations are saved; go on with: rlsd-pl fit --resume {run}" in told
    assert [path.name for path in (run / "checkpoints").glob("*.ckpt*")] == [
        "iteration-000001.ckpt",
        "iteration-000001.ckpt.sha256",
    ]
