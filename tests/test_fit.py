"""The true entry point, from flags to a run folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.evaluate import evaluate
from rlsd_pl.commands.runs import CHECKPOINT_VARIABLE, RUN_DIR_VARIABLE, is_finished, newest_checkpoint, read_history
from rlsd_pl.persistence import iterations
from rlsd_pl.persistence.checkpoints import damage, saved
from rlsd_pl.persistence.lock import RunLock
from rlsd_pl.persistence.storage import remove
from tests.conftest import REPOSITORY

LAB = [
    *("--trainer", "cpu", "--trainer.check_val_every_n_epoch", "1", "--trainer.max_epochs", "2"),
    *(
        "--data.prompts_per_rollout",
        "4",
        "--data.group_size",
        "4",
        "--data.val_problems",
        "4",
        "--data.val_samples",
        "2",
    ),
]


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch):
    for name in (RUN_DIR_VARIABLE, CHECKPOINT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])


def run(folder: Path, *flags: str) -> Path:
    fit([*LAB, "--run_dir", str(folder), *flags])
    return folder


def rollouts(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def lab_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "rlsd"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fit.py"])
        return run(folder, "--objective", "rlsd", "--trainer.max_epochs", "3")


def test_a_run_leaves_everything_in_its_folder(lab_run):
    for name in ("config.yaml", "rollouts.jsonl", "learning_curve.png", "hf/model.safetensors"):
        assert (lab_run / name).stat().st_size > 0, name
    assert list(lab_run.glob("tensorboard/*/events*"))
    assert newest_checkpoint(lab_run).name == "iteration-000003.ckpt"
    history = read_history(lab_run)
    assert sorted(history["rollout/reward"]) == [1, 2, 3]
    assert sorted(history["val/greedy_accuracy"]) == [0, 1, 2, 3]
    assert history["credit/strength"][1] == 0.5
    records = rollouts(lab_run)
    assert len(records) == 3 * 4
    assert len(records[0]["tokens"]) == len(records[0]["token_advantages"])


def test_the_exported_folder_is_the_trained_policy(lab_run):
    model = AutoModelForCausalLM.from_pretrained(lab_run / "hf")
    AutoTokenizer.from_pretrained(lab_run / "hf")
    checkpoint = torch.load(newest_checkpoint(lab_run), weights_only=True)["state_dict"]
    base = AutoModelForCausalLM.from_pretrained(REPOSITORY / "rlsd_pl" / "lab" / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    trained = model.state_dict()[name]
    assert torch.equal(trained, checkpoint[f"_policy.model.{name}"])
    assert not torch.equal(trained, base.state_dict()[name])


def test_a_resumed_run_is_the_uninterrupted_one(lab_run, tmp_path, capsys):
    folder = run(tmp_path / "stopped", "--objective", "rlsd", "--trainer.max_epochs", "2")
    fit(["--resume", str(folder), "--trainer.max_epochs", "3"])
    whole, resumed = (torch.load(newest_checkpoint(f), weights_only=True)["state_dict"] for f in (lab_run, folder))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_history(folder)["rollout/reward"] == read_history(lab_run)["rollout/reward"]
    assert read_history(folder)["val/greedy_accuracy"] == read_history(lab_run)["val/greedy_accuracy"]
    assert len(list(folder.glob("config*.yaml"))) == 2


def test_objectives_on_one_seed_share_problems_and_first_rollouts(lab_run, tmp_path):
    def first(folder: Path) -> list:
        return [(r["problem"], r["completion"], r["reward"]) for r in rollouts(folder) if r["iteration"] == 1]

    expected = first(lab_run)
    for objective in ("rlvr", "opsd"):
        folder = run(tmp_path / objective, "--objective", objective, "--trainer.max_epochs", "1")
        assert first(folder) == expected


def test_another_seed_draws_other_problems(lab_run, tmp_path):
    other = run(tmp_path / "other", "--seed_everything", "1", "--trainer.max_epochs", "1")
    assert rollouts(other)[0]["problem"] != rollouts(lab_run)[0]["problem"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--objective", "rlsd", "--context", "solution", "--context.field", "answer"],
        ["--objective", "rlsd", "--model.lora.r", "4", "--teacher", "frozen"],
        ["--objective", "opsd", "--context", "answer"],
        ["--objective", "rlvr"],
    ],
    ids=["solution", "lora-frozen", "opsd", "rlvr"],
)
def test_a_real_model_trains_on_rows_of_a_file(flags, tiny_model, problem_file, tmp_path):
    folder = tmp_path / "run"
    fit(
        [
            *("--model", str(tiny_model), "--task", "jsonl", "--task.path", str(problem_file)),
            *("--task.prompt_column", "question", "--task.answer_pattern", "#### (.+)", "--task.val_fraction", "0.3"),
            *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.max_completion_tokens", "8"),
            *("--data.val_problems", "2", "--data.val_samples", "1", "--data.micro_batch_size", "3"),
            *("--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
            *("--run_dir", str(folder), *flags),
        ]
    )
    AutoModelForCausalLM.from_pretrained(folder / "hf")
    history = read_history(folder)
    assert history["rollout/truncated"][1] > 0
    prompt = rollouts(folder)[0]["prompt"]
    assert "####" not in prompt


ANSWERS: dict[str, str] = {}
ASKED: list[str] = []


def answer_by_heart(prompt: str, k: int) -> str:
    """The known answers to problems that the prompt holds; otherwise none."""
    ASKED.append(prompt)
    return next((f"\\boxed{{{answer}}}" for question, answer in ANSWERS.items() if question in prompt), "no idea")


def test_shifted_problems_are_the_held_out_rows_of_their_own_table(tiny_model, problem_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = []
    for line in problem_file.read_text().splitlines():
        row = json.loads(line)
        rows.append({"prompt": row["question"], "answer": row["answer"].rpartition("#### ")[2]})
    learnt, other = rows[:8], rows[8:12]
    for name, table in (("train", learnt), ("other", other)):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    ASKED.clear()
    monkeypatch.setattr(f"{__name__}.ANSWERS", {row["prompt"]: row["answer"] for row in other[:3]})
    fit(
        [
            *("--task", "jsonl", "--task.path", "train.jsonl", "--shifted", "rlsd_pl.tasks.TableTask"),
            *("--shifted.path", "train.jsonl", "--shifted.val_path", "other.jsonl"),
            *("--model", str(tiny_model), "--objective", "rlvr", "--task.val_fraction", "0.5", "--run_dir", "run"),
            *("--engine", "rlsd_pl.engines.ScriptedEngine", "--engine.script", f"{__name__}.answer_by_heart"),
            *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.max_completion_tokens", "24"),
            *("--data.val_problems", "2", "--data.val_samples", "1"),
            *("--trainer", "cpu", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
        ]
    )
    history = read_history(Path("run"))
    assert history["leakage/shifted_accuracy"] == {0: 0.75, 1: 0.75}
    assert history["leakage/shifted_invalid_rate"] == {0: 0.25, 1: 0.25}
    assert history["val/greedy_accuracy"] == {0: 0.0, 1: 0.0}
    assert history["rollout/reward"] == {1: 0.0}
    for row in other:  # before training and after the iteration, one sample each
        assert sum(row["prompt"] in prompt for prompt in ASKED) == 2
    assert len(ASKED) == 2 * 4 + 2 * (2 + 2) + 2 * 2


def test_the_console_shows_what_a_user_needs_and_nothing_else(tmp_path):
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *LAB, "--run_dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    resolved = next(place for place, line in enumerate(lines) if line.startswith("RLSD on ChainTask, 252,"))
    assert [line.split()[0] for line in lines[:resolved]] == [
        *("objective", "strength", "teacher", "context", "template", "verifier", "task", "model"),
        *("learning", "weight", "rollout", "iterations"),
    ]
    lines = lines[resolved:]
    assert lines[1].split() == [
        "iter",
        "reward",
        "greedy",
        "sampled",
        "length",
        "hollow",
        "strength",
        "clip",
        "entropy",
        "tokens/s",
    ]
    told = [line for line in lines[2:] if not line.startswith("Evaluations are ")]  # of a share that the clock decides
    assert [line.split()[0] for line in told[:4]] == ["0", "1", "to", "2"]
    assert told[2].startswith("to come: 1 iteration")
    assert any(line.split() == ["held-out", "before", "after"] for line in lines)
    assert lines[-1].startswith("2 iterations in ")
    assert done.stderr == ""


def copied(run_folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(run_folder, target))


def refused(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as left:
        fit(argv)
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_folder_holds_one_run(lab_run, tmp_path, capsys):
    assert f"--resume {lab_run} to go on" in refused([*LAB, "--run_dir", str(lab_run)], capsys)
    with RunLock(lab_run):
        assert "still writing the run" in refused(["--resume", str(lab_run), "--trainer.max_epochs", "9"], capsys)


def test_what_makes_another_run_is_refused_and_leaves_the_run_as_it_was(lab_run, tmp_path, capsys):
    folder = copied(lab_run, tmp_path / "run")
    config = (folder / "config.yaml").read_text()
    for flags, words in {
        ("--model.lora.r", "4"): "--model.lora.r: was 0, got 4",
        ("--seed_everything", "1"): "--seed_everything: was 0, got 1",
        ("--data.group_size", "8"): "--data.group_size: was 4, got 8",
        ("--data.temperature", "0.5"): "--data.temperature: was 1.0, got 0.5",
        ("--trainer.max_epochs", "1"): "max_epochs=1 for a run with 3 finished iterations",
    }.items():
        assert words in " ".join(refused(["--resume", str(folder), *flags], capsys).split()), flags
    allowed = ["--resume_changes", "allow", "--trainer.max_epochs", "4", "--model.lora.r", "4"]
    assert "does not fit the model" in refused(["--resume", str(folder), *allowed], capsys)
    record = json.loads((folder / "data.json").read_text())
    record["train"]["blake2b"] = "0" * 32
    (folder / "data.json").write_text(json.dumps(record))
    assert "the train split holds other problems" in refused(["--resume", str(folder)], capsys)
    assert (folder / "config.yaml").read_text() == config
    assert not list(folder.glob("config-until*"))


def test_a_run_that_was_killed_before_its_export_gets_it(lab_run, tmp_path):
    folder = copied(lab_run, tmp_path / "run")
    for name in ("hf", "learning_curve.png", "finished.json"):
        remove(folder / name)
    assert not is_finished(folder)
    fit(["--resume", str(folder)])
    assert (folder / "hf" / "model.safetensors").read_bytes() == (lab_run / "hf" / "model.safetensors").read_bytes()
    assert (folder / "learning_curve.png").exists()
    assert is_finished(folder)
    assert read_history(folder) == read_history(lab_run)
    assert rollouts(folder) == rollouts(lab_run)


def test_a_damaged_checkpoint_costs_an_iteration_and_not_the_run(lab_run, tmp_path, capsys):
    folder = copied(lab_run, tmp_path / "run")
    newest = newest_checkpoint(folder)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    fit(["--resume", str(folder)])
    assert [(r["iteration"], r["completion"]) for r in rollouts(folder)] == [
        (r["iteration"], r["completion"]) for r in rollouts(lab_run)
    ]
    assert read_history(folder)["rollout/reward"] == read_history(lab_run)["rollout/reward"]
    assert damage(newest_checkpoint(folder)) is None
    assert newest_checkpoint(folder).name == "iteration-000003.ckpt"


class Payload:
    def __reduce__(self):
        return os.mkdir, (os.environ["PAYLOAD"],)


def test_the_run_folder_of_somebody_else_cannot_run_code(lab_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAYLOAD", str(tmp_path / "owned"))
    folder = copied(lab_run, tmp_path / "run")
    for checkpoint in saved(folder / "checkpoints"):
        torch.save({"state_dict": Payload()}, checkpoint)
        remove(checkpoint.with_name(f"{checkpoint.name}.sha256"))
    words = "holds more than tensors and plain values"
    assert words in refused(["--resume", str(folder), "--trainer.max_epochs", "4"], capsys)
    with pytest.raises(SystemExit) as left:
        evaluate(["--checkpoint", str(folder)])
    assert left.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


def test_a_new_learning_rate_reaches_the_optimizer_of_a_resumed_run(lab_run, tmp_path):
    folder = copied(lab_run, tmp_path / "run")
    cli = fit(["--resume", str(folder), "--trainer.max_epochs", "4", "--optimizer.lr", "1e-7"])
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == 1e-7
    assert read_history(folder)["train/lr"][4] == pytest.approx(1e-7)
    assert "lr: 0.0002" in (folder / "config-until-iteration-000003.yaml").read_text()
    assert yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["init_args"]["lr"] == 1e-7


def test_a_start_that_fails_leaves_nothing_and_one_without_an_iteration_can_be_repeated(tmp_path, capsys):
    folder = tmp_path / "run"
    assert "max_prompt_tokens" in refused([*LAB, "--run_dir", str(folder), "--data.max_prompt_tokens", "1"], capsys)
    assert not folder.exists()
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "csv" / "version_0").mkdir(parents=True)
    (folder / "csv" / "version_0" / "metrics.csv").write_text("rollout/reward,step\n0.5,1\n")
    (folder / "rollouts.jsonl").write_text('{"iteration": 1}\n')
    (folder / "config.yaml").write_text("trainer:\n  max_epochs: 7\n")
    (folder / "notes.txt").write_text("mine")
    shown = refused(["--resume", str(folder)], capsys)
    assert "nothing to go on with" in shown
    assert f"--run_dir {folder}" in shown
    run(folder, "--trainer.max_epochs", "1")
    assert sorted(read_history(folder)["rollout/reward"]) == [1]
    assert len(rollouts(folder)) == 4
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_file_in_the_way_is_named(tmp_path, capsys):
    (tmp_path / "run").write_text("")
    with pytest.raises(SystemExit) as left:
        fit([*LAB, "--run_dir", str(tmp_path / "run")])
    assert left.value.code == 74
    assert f"A file is in the way at {tmp_path / 'run'}" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 9 MB: two checkpoints of the lab and a half."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_ends_a_run_with_its_status_and_its_last_iteration(small_disk, monkeypatch, capsys):
    def left(*argv: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as stopped:
            fit(list(argv))
        return stopped.value.code, " ".join(capsys.readouterr().err.split())

    status, shown = left(*LAB, "--run_dir", str(small_disk / "run"))
    assert status == 74
    assert "are needed for 2 checkpoints and one that is being written" in shown
    assert not (small_disk / "run").exists()
    monkeypatch.setattr(iterations, "check_space", lambda *args: None)
    status, shown = left(*LAB, "--run_dir", str(small_disk / "run"), "--trainer.max_epochs", "9")
    assert status == 74
    assert "full" in shown
    assert "2 iterations are saved; go on with: rlsd-pl fit --resume" in shown
    assert newest_checkpoint(small_disk / "run").name == "iteration-000002.ckpt"
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    fit(["--resume", str(small_disk / "run"), "--trainer.max_epochs", "3"])
    assert sorted(read_history(small_disk / "run")["rollout/reward"]) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_stopped_run_keeps_its_finished_iterations_and_says_so_to_the_shell(number, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *LAB, "--run_dir", str(folder)]
    # A background job of a non-interactive shell ignores SIGINT and hands that down: the run must not inherit it.
    process = subprocess.Popen(
        [*command, "--trainer.max_epochs", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not saved(folder / "checkpoints"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    try:
        shown, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"The run went on; where it stands:\n{process.communicate()[0]}")
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    assert number is signal.SIGKILL or "--resume" in shown
    assert "Traceback" not in shown
    done = int(newest_checkpoint(folder).stem.rpartition("-")[2])
    fit(["--resume", str(folder), "--trainer.max_epochs", str(done + 1)])
    assert sorted(read_history(folder)["rollout/reward"]) == list(range(1, done + 2))
    assert [r["iteration"] for r in rollouts(folder)] == [i for i in range(1, done + 2) for _ in range(4)]
