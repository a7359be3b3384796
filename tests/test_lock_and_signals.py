"""Two owners of one folder, and signals that end a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from lightning.pytorch import Callback

from rlsd_pl.commands.lifecycle import reported
from rlsd_pl.commands.runs import RunFolder
from rlsd_pl.persistence.iterations import IterationCheckpoint
from rlsd_pl.persistence.lock import LockedError, RunLock, refuse_if_held
from rlsd_pl.persistence.stop import SIGNALS, StopOnSignal, Stopped
from rlsd_pl.persistence.storage import StorageError
from tests.conftest import REPOSITORY
from tests.loops import fit

HOLD = """
import sys, time
from pathlib import Path
from rlsd_pl.persistence.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_owner_is_told_who_the_first_is_and_a_dead_one_keeps_nothing(tmp_path, other):
    for attempt in (RunLock, refuse_if_held):
        with pytest.raises(LockedError, match=rf"process {other.pid} on {socket.gethostname()}, since 20\d\d-"):
            attempt(tmp_path)
    other.kill()
    other.wait()
    refuse_if_held(tmp_path)
    with RunLock(tmp_path) as lock:
        assert lock.left_by is None
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()
        with pytest.raises(LockedError):
            RunLock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_owner_on_another_machine_that_did_not_release_is_named(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"host": "elsewhere", "pid": 7, "started": "2026-01-01T00:00:00"}))
    with RunLock(tmp_path) as lock:
        assert str(lock.left_by) == "process 7 on elsewhere, since 2026-01-01T00:00:00"


def test_an_unreadable_lock_file_says_nothing_and_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_text("{")
    with RunLock(tmp_path) as lock:
        assert lock.left_by is None


def test_a_lock_on_a_removed_file_does_not_count(tmp_path):
    first = RunLock(tmp_path)
    (tmp_path / ".lock").unlink()
    with RunLock(tmp_path), pytest.raises(StorageError, match="deleted or replaced"):
        first.check()
    first.release()


def test_a_folder_that_is_deleted_in_mid_run_ends_it_with_a_message_and_is_not_made_again(tmp_path, capsys):
    folder = tmp_path / "run"
    lock = RunLock(folder)

    class Delete(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.current_epoch == 1:
                shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(SystemExit) as left, reported(RunFolder(folder)):
        fit(folder, 3, callbacks=[Delete()], checkpoint=IterationCheckpoint(folder, before=lock.check))
    lock.release()
    assert left.value.code == 74
    assert f"The run folder {folder} is gone" in capsys.readouterr().err
    assert not (folder / "checkpoints").exists()


def test_errors_that_are_not_of_the_disk_stay_what_they_are(tmp_path):
    for error in (ConnectionResetError(104, "reset"), FileNotFoundError(2, "absent", "/elsewhere/model.json")):
        with pytest.raises(type(error)), reported(RunFolder(tmp_path)):
            raise error


def test_the_disk_s_traceback_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("RLSD_PL_DEBUG", "1")
    with pytest.raises(StorageError), reported(RunFolder(tmp_path)):
        raise StorageError("full")


def test_a_signal_s_status_survives_what_fails_while_the_run_ends(tmp_path, capsys):
    full = OSError(28, "No space left on device")
    full.__context__ = Stopped(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, reported(RunFolder(tmp_path)):
        raise full
    assert left.value.code == 143
    assert "Stopped by SIGTERM." in capsys.readouterr().err


# --- signals ---------------------------------------------------------------------------------------------------------


class Send(Callback):
    """Sends a signal to this process in the middle of an iteration."""

    def __init__(self, number: int, iteration: int) -> None:
        self.number, self.iteration = number, iteration

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.current_epoch + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_a_signal_drops_the_iteration_and_keeps_the_last_one(tmp_path, number, status):
    before = [signal.getsignal(s) for s in SIGNALS]
    with pytest.raises(Stopped) as stopped, StopOnSignal() as stop:
        fit(tmp_path, 5, callbacks=[Send(number, 3), stop])
    assert stopped.value.status == status
    assert [signal.getsignal(s) for s in SIGNALS] == before
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert names == ["iteration-000001.ckpt", "iteration-000002.ckpt"]


@pytest.mark.parametrize("environment", [{}, {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "1"}])
def test_a_signal_during_a_commit_waits_for_its_end(tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    calls = []

    def kill() -> None:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    stop = StopOnSignal()
    checkpoint = IterationCheckpoint(tmp_path, undisturbed=stop.deferred, before=kill)
    with pytest.raises(Stopped), stop:
        fit(tmp_path, 5, callbacks=[stop], checkpoint=checkpoint)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert names == ["iteration-000001.ckpt", "iteration-000002.ckpt"]
    assert not list(tmp_path.glob("hpc_ckpt*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_is_lost_in_a_destructor_still_ends_the_run(tmp_path):
    class Lost:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    class Lose(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.current_epoch == 1:
                Lost()

    with pytest.raises(Stopped), StopOnSignal() as stop:
        fit(tmp_path, 50, callbacks=[Lose(), stop])
    assert len(list((tmp_path / "checkpoints").glob("*.ckpt"))) == 1


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignal():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
