"""Evaluation outside training: the same numbers as within it, for runs and for plain models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.evaluate import Subject, evaluate
from rlsd_pl.commands.presets import CONFIGS
from rlsd_pl.commands.runs import read_history
from rlsd_pl.lab.pretrain import ModelSize, build_model
from rlsd_pl.lab.tokenizer import build_tokenizer
from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier

SMALL = [
    *("--num_threads", "1", "--data.max_completion_tokens", "8", "--data.val_problems", "4"),
    *("--data.val_samples", "2", "--data.prompts_per_rollout", "2", "--data.group_size", "2"),
]


@pytest.fixture(scope="module")
def lab_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained lab model."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    build_model(ModelSize(layers=1, width=32, heads=2, mlp_width=32)).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(lab_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration at a learning rate that moves every weight."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    flags = ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--optimizer.lr", "0.05"]
    fit(["--objective", "opsd", "--model", str(lab_model), "--run_dir", str(folder), *SMALL, *flags])
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_evaluated_as_it_was_at_its_end_and_left_as_it_was(run: Path) -> None:
    before = files(run)
    result = evaluate(["--checkpoint", str(run)])
    recorded = {key: series[1] for key, series in read_history(run).items() if key.startswith("val/") and 1 in series}
    assert recorded
    for key, value in recorded.items():
        assert result.metrics[key.removeprefix("val/")] == pytest.approx(value, abs=1e-6), key
    assert (result.problems, result.samples) == (4, 2)
    after = files(run)
    assert set(after) - set(before) == {run / "evaluation.json"}
    assert all(after[path] == content for path, content in before.items())
    assert json.loads((run / "evaluation.json").read_text())["metrics"] == result.metrics


def test_the_weights_are_the_runs_not_those_it_started_from(run: Path, lab_model: Path) -> None:
    trained = evaluate(["--checkpoint", str(run / "hf"), *SMALL]).metrics
    resumed = evaluate(["--checkpoint", str(run), "--output", str(run.parent / "elsewhere.json")]).metrics
    started = evaluate(["--checkpoint", str(lab_model), *SMALL]).metrics
    assert trained["length"] == resumed["length"] != started["length"]


def test_flags_override_and_pass_at_powers_of_two_is_added(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "deep" / "out.json"
    argv = ["--checkpoint", str(run), "--output", str(output), "--data.val_samples", "5", "--data.val_problems", "3"]
    metrics = evaluate(argv).metrics
    assert {key for key in metrics if key.startswith("pass_at_")} == {f"pass_at_{k}" for k in (1, 2, 4, 5)}
    assert json.loads(output.read_text())["problems"] == 3
    shown = capsys.readouterr().out
    for name in ("greedy accuracy", "avg@5", "pass@4", "hollow", "truncated", "status invalid"):
        assert name in shown


def test_presets_apply_on_top_of_a_runs_own_settings(run: Path) -> None:
    arguments = Subject.from_arguments(str(run), ["--task", "lab", "--data.val_problems", "3"]).arguments
    files = [run / "config.yaml", CONFIGS / "task" / "lab.yaml", CONFIGS / "task" / "lab" / "SolutionContext.yaml"]
    assert arguments == [*(part for file in files for part in ("--config", str(file))), "--data.val_problems", "3"]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "Got no --checkpoint"),
        (["--checkpoint", "/no/such/folder"], "No model folder"),
        (["--checkpoint", "{run}", "--data.val_porblems", "3"], "val_porblems"),
        (["--checkpoint", "{run}", "--task", "lib"], "Did you mean 'lab'"),
    ],
)
def test_mistakes_are_one_line(run: Path, capsys: pytest.CaptureFixture, argv: list[str], complaint: str) -> None:
    with pytest.raises(SystemExit) as exit_info:
        evaluate([part.format(run=run) for part in argv])
    assert exit_info.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_folder_without_a_finished_iteration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="whole run folder"):
        Subject.from_arguments(str(tmp_path), [])
    (tmp_path / "config.yaml").write_text("trainer: {}")
    with pytest.raises(ValueError, match="no run with a finished iteration"):
        Subject.from_arguments(str(tmp_path), [])


class FailingVerifier(Verifier):
    """Never gets anywhere."""

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [Verdict(0.0, Status.ERROR, "no network") for _ in texts]


def test_where_nothing_could_be_judged_no_accuracy_is_shown(
    lab_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["--checkpoint", str(lab_model), "--verifier", "tests.test_evaluate.FailingVerifier", *SMALL]
    result = evaluate([*argv, "--data.max_error_share", "1", "--output", str(tmp_path / "out.json")])
    assert result.metrics["greedy_status_error"] == result.metrics["status_error"] == 1.0
    shown = capsys.readouterr().out
    assert "The verifier failed on every greedy completion" in shown
    for name in ("greedy accuracy ", "avg@", "pass@", "maj@", "nan"):
        assert name not in shown
    assert not [key for key in result.metrics if "accuracy" in key or "_at_" in key]
    with pytest.raises(SystemExit) as left:
        evaluate(argv)
    assert left.value.code == 2
    assert "The verifier failed on 4 of 4 completions (allowed: 5%). First: 'no network'." in capsys.readouterr().err
