"""What ``--logger`` writes, read back: metrics, configuration, and a table of sample completions."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rlsd_pl.callbacks.sample_table import COLUMNS, markdown, strongest
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE, read_history
from rlsd_pl.errors import SetupError
from rlsd_pl.loggers import MLflow, WandB

SHORT = [
    *("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "2", "--data.val_problems", "3"),
    *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.val_samples", "1", "--trainer", "cpu"),
]


@pytest.fixture
def fit(monkeypatch, tmp_path):
    from rlsd_pl.commands.cli import fit as command

    monkeypatch.setattr(sys, "argv", ["fit.py"])

    def run(*flags: str) -> Path:
        monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
        folder = tmp_path / "run"
        command([*flags, *(() if "--resume" in flags else ("--run_dir", str(folder), *SHORT))])
        return folder

    return run


def samples(folder: Path) -> list[dict]:
    """What rollouts.jsonl holds of the first iteration."""
    records = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    return [record for record in records if record["iteration"] == 1]


@pytest.mark.slow
def test_tensorboard_holds_metrics_and_a_table(fit):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = fit()  # the default
    events = EventAccumulator(str(folder / "tensorboard" / "version_0")).Reload()
    rewards = {event.step: event.value for event in events.Scalars("rollout/reward")}
    assert rewards == pytest.approx(read_history(folder)["rollout/reward"])
    (table,) = events.Tensors("samples/text_summary")
    assert table.step == 1
    text = table.tensor_proto.string_val[0].decode()
    assert all(column in text.splitlines()[0] for column in COLUMNS)
    for record in samples(folder):
        completion = record["completion"].replace("&", "&amp;")
        assert f"| {record['problem']} | {record['prompt']} | {completion} | {record['status']} |" in text


@pytest.mark.slow
def test_wandb_offline_holds_a_table(fit):
    folder = fit("--logger", "wandb", "--logger.offline", "true", "--logger.project", "mine")
    (run,) = (folder / "wandb").glob("offline-run-*")
    (path,) = run.glob("files/media/table/samples_*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == list(COLUMNS)
    shown = [dict(zip(COLUMNS, row, strict=True)) for row in table["data"]]
    for record in samples(folder):
        (row,) = [row for row in shown if row["completion"] == record["completion"]][:1]
        assert (row["status"], row["reward"], row["iteration"]) == (record["status"], record["reward"], 1)
    assert run.name.endswith((folder / "logger_id.txt").read_text().strip())
    assert not (folder / "tensorboard").exists()
    assert read_history(folder)["rollout/reward"].keys() == {1, 2}


@pytest.mark.slow
def test_mlflow_holds_metrics_settings_and_a_table_and_a_resumed_run_goes_on(fit, monkeypatch):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = fit("--logger", "mlflow", "--logger.experiment", "mine")
    fit("--resume", str(folder), "--trainer.max_epochs", "3")
    client = mlflow.MlflowClient((folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == folder.name
    assert run.data.params["objective/class_path"] == "rlsd_pl.objectives.RLSD"
    logged = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "rollout/reward")}
    assert logged == pytest.approx(read_history(folder)["rollout/reward"])
    assert logged.keys() == {1, 2, 3}
    table = client.load_table(run.info.experiment_id, "samples.json", [run.info.run_id])
    assert len(table) == 4
    assert list(table["completion"])[:2] == [record["completion"] for record in samples(folder)]
    assert list(table["reward"])[:2] == [record["reward"] for record in samples(folder)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "left"), [("csv", {"csv"}), ("none", set())])
def test_csv_alone_and_none(fit, name, left):
    folder = fit("--logger", name)
    assert {path.name for path in folder.iterdir()} & {"csv", "tensorboard", "wandb", "mlruns"} == left
    assert (folder / "learning_curve.png").exists() == (name == "csv")
    assert (folder / "hf" / "config.json").exists()


@pytest.mark.parametrize(("logger", "package"), [(WandB(), "wandb"), (MLflow(), "mlflow")])
def test_a_missing_package_is_told_in_one_line(logger, package, monkeypatch, tmp_path):
    monkeypatch.setattr("rlsd_pl.loggers.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=rf"--logger {package} needs .*pip install 'rlsd_pl\[{package}\]'") as error:
        logger.make(tmp_path, 0, {})
    assert "\n" not in str(error.value)


def test_an_unknown_logger_is_told(fit, capsys):
    with pytest.raises(SystemExit):
        fit("--logger", "wandbb")
    assert "Did you mean 'wandb'?" in " ".join(capsys.readouterr().err.split())


def test_the_strongest_tokens_are_those_that_depart_from_the_advantage():
    record = {"advantage": 0.5, "tokens": ["a", "b", "c"], "token_advantages": [0.5, 0.75, -0.5]}
    assert strongest(record) == "'c' -0.50, 'b' +0.75"
    assert strongest({"advantage": 0.5, "tokens": ["a"], "token_advantages": [0.5]}) == ""
    assert strongest({"advantage": 0.5, "tokens": ["a"]}) == ""


def test_a_cell_holds_any_text():
    line = markdown([[1, "p", "a|b", "x\ny<script>", "pass", 0.25, -1.0, "'|' +1.00"]]).splitlines()[2]
    assert line == "| 1 | p | a&#124;b | x<br>y&lt;script> | pass | 0.25 | -1 | '&#124;' +1.00 |"
