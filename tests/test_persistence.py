"""Kills and disks between any two steps of a commit: what is left, and what a run makes of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import threading
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from rlsd_pl.commands.runs import read_history
from rlsd_pl.persistence import checkpoint_io, checkpoints, storage
from rlsd_pl.persistence.checkpoint_io import DurableCheckpointIO, refuse_code
from rlsd_pl.persistence.checkpoints import CheckpointError, newest_good, prune, saved
from rlsd_pl.persistence.iterations import IterationCheckpoint
from rlsd_pl.persistence.metrics import MetricsLogger
from rlsd_pl.persistence.records import cut_back, finished_at, write_finished
from rlsd_pl.persistence.storage import StorageError, replace_folder, replacing
from tests.loops import fit


class Killed(BaseException):
    """Stands in for kill -9: nothing after it runs but the clean-up that a kill would not do either."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, *iterations: int) -> list[Path]:
    paths = [checkpoints.checkpoint_path(folder, iteration) for iteration in iterations]
    for path in paths:
        DurableCheckpointIO().save_checkpoint({"iteration": checkpoints.iteration_of(path), "w": torch.ones(9)}, path)
    return paths


# --- one file --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_has_the_checksum_that_sha256sum_gives(tmp_path):
    (path,) = write(tmp_path, 3)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / "iteration-000003.ckpt.sha256").read_text() == f"{digest}  iteration-000003.ckpt\n"
    assert checkpoints.damage(path) is None
    assert DurableCheckpointIO().load_checkpoint(path)["iteration"] == 3


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_one_flipped_bit_is_found_wherever_it_is(tmp_path, place):
    (path,) = write(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert checkpoints.damage(path) == "the checksum of iteration-000001.ckpt is not the recorded one"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_kill_in_any_step_of_a_write_leaves_the_previous_checkpoint(tmp_path, monkeypatch, step, count):
    write(tmp_path, 1)
    before = (tmp_path / "iteration-000001.ckpt").read_bytes()
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) > count:
            raise Killed
        return original(*args, **kwargs)

    owner, name = (os, "fsync") if step == "fsync" else (Path, "replace")
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, interrupted)
    try:
        write(tmp_path, 2)
        complete = True
    except Killed:
        complete = False
    monkeypatch.setattr(owner, name, original)
    assert (tmp_path / "iteration-000001.ckpt").read_bytes() == before
    newest = newest_good(tmp_path)
    if complete:
        assert newest.name == "iteration-000002.ckpt"
    DurableCheckpointIO().load_checkpoint(newest)
    prune(tmp_path, keep=2)
    assert not [name for name in names(tmp_path) if name.endswith(".partial")]
    assert len(names(tmp_path)) == 2 * len(saved(tmp_path))


def test_a_full_disk_is_reported_as_such_and_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    write(tmp_path, 1)

    class Full(checkpoint_io._HashingWriter):
        def write(self, data):
            self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise self.error

    monkeypatch.setattr(checkpoint_io, "_HashingWriter", Full)
    with pytest.raises(OSError, match="No space left") as raised:
        write(tmp_path, 2)
    assert raised.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["iteration-000001.ckpt", "iteration-000001.ckpt.sha256"]


# --- which one to load -----------------------------------------------------------------------------------------------


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word_on_what_is_lost(tmp_path, caplog):
    older, newer = write(tmp_path, 9, 10)
    newer.write_bytes(newer.read_bytes()[:-100])
    with caplog.at_level("WARNING"):
        assert newest_good(tmp_path) == older
    assert "iteration-000010.ckpt is damaged" in caplog.text
    assert "Going on from iteration 9; later iterations are trained again." in caplog.text


def test_the_iteration_counts_and_not_the_time_of_writing(tmp_path):
    _, newer = write(tmp_path, 2, 10)
    os.utime(newer, (0, 0))
    assert newest_good(tmp_path) == newer


def test_nothing_good_is_an_error_that_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        newest_good(tmp_path)
    (only,) = write(tmp_path, 1)
    only.write_bytes(b"")
    with pytest.raises(CheckpointError, match="No older one is left"):
        newest_good(tmp_path)


def test_pruning_keeps_two_and_what_is_not_its_own(tmp_path):
    write(tmp_path, 1, 2, 3)
    for name in ("iteration-000004.ckpt.partial", "iteration-000005.ckpt.sha256", "best.ckpt", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "iteration-000006.ckpt.partial").mkdir()
    prune(tmp_path, keep=2)
    kept = [f"iteration-00000{n}.ckpt{ending}" for n in (2, 3) for ending in ("", ".sha256")]
    assert names(tmp_path) == sorted([*kept, "best.ckpt", "notes.txt"])


# --- no code from a run folder ---------------------------------------------------------------------------------------


class Payload:
    def __reduce__(self):
        return os.mkdir, (os.environ["PAYLOAD"],)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOAD", str(tmp_path / "owned"))
    torch.save({"x": Payload()}, tmp_path / "iteration-000001.ckpt")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        DurableCheckpointIO().load_checkpoint(tmp_path / "iteration-000001.ckpt", weights_only=False)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match="mkdir"):
        refuse_code(tmp_path / ".metadata")
    assert not (tmp_path / "owned").exists()


def test_the_metadata_of_a_sharded_checkpoint_passes(tmp_path):
    from torch.distributed.checkpoint import save

    state = {"w": torch.ones(4, dtype=torch.bfloat16), "step": 3, "text": "x"}
    save(state, checkpoint_id=tmp_path, no_dist=True)
    refuse_code(tmp_path / ".metadata")


# --- commits ---------------------------------------------------------------------------------------------------------


class Kill(Callback):
    """Ends the run in one iteration: before its metrics, or between them and the checkpoint."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch + 1 == self.iteration:
            raise Killed


def kill_before_saving(iteration: int):
    def check(trainer_iteration=[0]):  # noqa: B006 (counts the calls)
        trainer_iteration[0] += 1
        if trainer_iteration[0] == iteration:
            raise Killed

    return check


def test_a_commit_is_row_then_checkpoint(tmp_path):
    seen = []

    class Probe(DurableCheckpointIO):
        def save_checkpoint(self, checkpoint, path, storage_options=None):
            seen.append(max(read_history(tmp_path)["rollout/reward"]))
            super().save_checkpoint(checkpoint, path, storage_options)

    class Install(Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.strategy.checkpoint_io = Probe()

    fit(tmp_path, 3, callbacks=[Install()])
    assert seen == [1, 2, 3]
    assert [path.name for path in saved(tmp_path / "checkpoints")] == ["iteration-000003.ckpt", "iteration-000002.ckpt"]


@pytest.mark.parametrize("when", ["in the iteration", "between row and checkpoint"])
@pytest.mark.parametrize("last", [2, 4], ids=["in the middle", "in the last iteration"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, when, last):
    whole = fit(tmp_path / "whole", 4)
    folder = tmp_path / "killed"
    kill = [Kill(last)] if when == "in the iteration" else []
    before = kill_before_saving(last) if not kill else lambda: None
    with pytest.raises(Killed):
        fit(folder, 4, callbacks=kill, checkpoint=IterationCheckpoint(folder, before=before))
    newest = newest_good(folder / "checkpoints")
    assert newest.name == f"iteration-00000{last - 1}.ckpt"
    cut_back(folder, last - 1)
    resumed = fit(folder, 4, resume=newest)
    assert resumed.rollouts == list(range(last, 5))
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    assert read_history(folder) == read_history(tmp_path / "whole")
    for path in folder.glob("csv/*/metrics.csv"):
        steps = [line.split(",")[1] for line in path.read_text().splitlines()[1:]]
        assert path.parent.name != "version_0" or all(int(step) < last for step in steps)


def test_the_rate_of_a_scheduler_survives_a_resume(tmp_path):
    settings = {"scheduler": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)}
    whole = fit(tmp_path / "whole", 4, **settings)
    fit(tmp_path / "stopped", 2, **settings)
    resumed = fit(tmp_path / "stopped", 4, resume=newest_good(tmp_path / "stopped" / "checkpoints"), **settings)
    assert whole.rates[4:] == resumed.rates == [0.025, 0.025, 0.0125, 0.0125]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


def test_a_finished_run_makes_up_what_follows_training_and_collects_nothing(tmp_path):
    class Export(Callback):
        ended = 0

        def on_train_end(self, trainer, pl_module):
            Export.ended += 1

    trained = fit(tmp_path, 2)
    again = fit(tmp_path, 2, resume=newest_good(tmp_path / "checkpoints"), callbacks=[Export()])
    assert (Export.ended, again.rollouts) == (1, [])
    assert torch.equal(again.layer.weight, trained.layer.weight)


def test_the_first_new_iteration_and_not_the_start_replaces_files(tmp_path):
    done = []
    with pytest.raises(RuntimeError, match="power"):
        fit(tmp_path, 2, fail_in=1, checkpoint=IterationCheckpoint(tmp_path, after_first=[lambda: done.append(1)]))
    assert done == []
    fit(tmp_path, 3, checkpoint=IterationCheckpoint(tmp_path, after_first=[lambda: done.append(1)]))
    assert done == [1]


def test_leftovers_of_interrupted_writes_and_of_resumes_go(tmp_path):
    folder = tmp_path / "checkpoints"
    write(folder, 1, 2)
    (folder / "iteration-000003.ckpt.partial").write_text("half")
    fit(tmp_path, 4)
    assert [path.name for path in saved(folder)] == ["iteration-000004.ckpt", "iteration-000003.ckpt"]
    assert len(names(folder)) == 4


def test_a_small_disk_is_refused_before_anything_is_sampled(tmp_path, monkeypatch):
    free = 500
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    # float32: 4 weights, two tensors of Adam for each, three checkpoints: 4 * 4 * 3 * 3 bytes
    fit(tmp_path, 1, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    free = 143
    with pytest.raises(StorageError, match="143 B left; 144 B are needed for 2 checkpoints and one that is being"):
        fit(tmp_path / "other", 1)
    assert not list((tmp_path / "other").rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.EIO, "Look at the disk"),
    ],
)
def test_a_disk_that_fails_in_mid_run_is_named_and_leaves_the_last_checkpoint(tmp_path, number, words):
    class Broken(DurableCheckpointIO):
        def save_checkpoint(self, checkpoint, path, storage_options=None):
            if checkpoints.iteration_of(Path(path)) == 2:
                raise OSError(number, os.strerror(number), str(path))
            super().save_checkpoint(checkpoint, path, storage_options)

    class Install(Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.strategy.checkpoint_io = Broken()

    with pytest.raises(StorageError, match=words):
        fit(tmp_path, 3, callbacks=[Install()])
    assert newest_good(tmp_path / "checkpoints").name == "iteration-000001.ckpt"


# --- records ---------------------------------------------------------------------------------------------------------


def test_records_beyond_the_checkpoint_and_torn_ones_are_cut(tmp_path):
    lines = [json.dumps({"iteration": i, "problem": str(k)}) for i in (1, 2, 3) for k in "ab"]
    (tmp_path / "rollouts.jsonl").write_text("\n".join(lines) + '\n{"iteration": 3, "pro')
    for version, rows in (("version_0", "1,.5\n2,.5\n3,"), ("version_1", "2,.6\n3,.6\n")):
        (tmp_path / "csv" / version).mkdir(parents=True)
        (tmp_path / "csv" / version / "metrics.csv").write_text("step,rollout/reward\n" + rows)
    cut_back(tmp_path, 2)
    assert (tmp_path / "rollouts.jsonl").read_text().splitlines() == lines[:4]
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").read_text() == "step,rollout/reward\n1,.5\n2,.5\n"
    assert (tmp_path / "csv" / "version_1" / "metrics.csv").read_text() == "step,rollout/reward\n2,.6\n"


def test_a_run_is_finished_when_it_says_so_and_no_longer_when_it_goes_on(tmp_path):
    assert finished_at(tmp_path) == 0
    write_finished(tmp_path, 3)
    assert finished_at(tmp_path) == 3
    cut_back(tmp_path, 3)
    assert finished_at(tmp_path) == 0


def test_a_new_metric_cannot_empty_the_file(tmp_path, monkeypatch):
    logger = MetricsLogger(tmp_path, name="csv")
    logger.log_metrics({"a": 1.0}, step=1)
    logger.save()
    logger.log_metrics({"b": 2.0}, step=2)
    monkeypatch.setattr(Path, "replace", lambda *args: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        logger.save()
    monkeypatch.undo()
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").read_text() == "a,step\n1.0,1\n"


def test_a_new_metric_adds_a_column(tmp_path):
    logger = MetricsLogger(tmp_path, name="csv")
    for step, metrics in enumerate([{"a": 1.0}, {"b": 2.0}, {"a": 3.0, "b": 4.0}], start=1):
        logger.log_metrics(metrics, step=step)
        logger.save()
    assert read_history(tmp_path) == {"a": {1: 1.0, 3: 3.0}, "b": {2: 2.0, 3: 4.0}}


# --- files and folders -----------------------------------------------------------------------------------------------


def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as file:
            file.write(b"ne")
            raise Killed

    with pytest.raises(Killed):
        half()
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["x"]


def test_a_pipe_or_a_device_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with replacing(pipe) as file:
        file.write(b"through")
    reader.join(10)
    assert read == ["through"]
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_replaced_folder_is_the_old_or_the_new_one(tmp_path):
    def half(folder: Path) -> None:
        folder.mkdir()
        (folder / "a").write_text("half")
        raise Killed

    def full(folder: Path) -> None:
        folder.mkdir()
        (folder / "b").write_text("whole")

    replace_folder(tmp_path / "hf", full)
    with pytest.raises(Killed):
        replace_folder(tmp_path / "hf", half)
    assert names(tmp_path) == ["hf"]
    assert names(tmp_path / "hf") == ["b"]


def test_what_cannot_be_written_is_known_before_a_run_starts(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"A file is in the way at .*file"):
        storage.check_writable(tmp_path / "file")
    with pytest.raises(StorageError, match=r"A file is in the way at .*file"):
        storage.check_writable(tmp_path / "file" / "run")
    storage.check_writable(tmp_path / "new" / "run")
    assert names(tmp_path / "new" / "run") == []
