"""The command line: presets, overrides, help, and mistakes that are told before training starts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from rlsd_pl.commands.presets import CONFIGS, GROUPS, available, compose, expand
from rlsd_pl.commands.runs import RUN_DIR_VARIABLE
from tests.conftest import REPOSITORY
from tests.tables import write_table


@pytest.fixture(autouse=True)
def _no_inherited_run_folder(monkeypatch):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)


@pytest.fixture
def build(tiny_model, tmp_path, monkeypatch):
    """Build the parts of a run as fit.py would."""
    from rlsd_pl.commands.cli import build as build_parts

    monkeypatch.setattr(sys, "argv", ["fit.py"])

    def built(*flags: str):
        return build_parts([*flags, "--model", str(tiny_model), "--run_dir", str(tmp_path / "run")])

    return built


def fails(capsys, action, *arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        action(*arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("group", GROUPS)
def test_every_preset_has_a_description_and_only_known_keys(group):
    for name in available(group):
        text = (CONFIGS / group / f"{name}.yaml").read_text()
        assert text.startswith("# "), name
        assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml")), ids=lambda p: p
)
def test_every_yaml_in_configs_parses_through_the_cli(path, build, tmp_path):
    if path.startswith("task/reasoning_gym"):
        pytest.importorskip("reasoning_gym")
    flags = ["--config", str(CONFIGS / path), "--trainer.accelerator", "cpu", "--trainer.precision", "32"]
    if path.startswith("task/") and "TableTask" in (CONFIGS / path).read_text():
        flags += ["--task.path", str(write_table(Path(path).stem, tmp_path))]
    cli = build(*flags)
    assert cli.trainer.max_epochs > 0


def test_flags_override_presets_with_types(build):
    cli = build(
        *("--objective", "rlsd", "--objective.epsilon_w", "0.3", "--data.group_size", "4", "--optimizer.lr", "3e-5"),
        *("--teacher", "periodic", "--teacher.every", "3", "--trainer.max_epochs", "7", "--model.lora.r", "2"),
    )
    module, data = cli.model, cli.datamodule
    assert module.objective.epsilon_w == 0.3
    assert data.sampling.completions == 4
    assert module.make_optimizer([__import__("torch").nn.Parameter()]).defaults["lr"] == 3e-5
    assert module.teacher.every == 3
    assert cli.trainer.max_epochs == 7
    assert module.lora.r == 2


def test_parts_of_an_objective_can_be_swapped_by_flag(build):
    cli = build(
        *("--objective.strength", "rlsd_pl.objectives.Constant", "--objective.strength.value", "0.7"),
        *("--objective.reduction", "rlsd_pl.objectives.SequenceMean"),
        *("--objective.surrogate", "rlsd_pl.objectives.PPOClip", "--objective.surrogate.epsilon_high", "0.4"),
    )
    objective = cli.model.objective
    assert objective.strength(0) == 0.7
    assert type(objective.reduction).__name__ == "SequenceMean"
    assert objective.surrogate.epsilon_high == 0.4


# jsonargparse dumps a default by vars(), which an object with __slots__ lacks.
WITH_DEFAULTS = """
from rlsd_pl.verifiers import CodeVerifier, MathVerifier, SQLVerifier
from rlsd_pl.verifiers.math.leaves import Policy
from rlsd_pl.verifiers.sandbox import Level, Limits
from rlsd_pl.verifiers.sql.reference import QueryLimits
class Math(MathVerifier):
    def __init__(self, policy: Policy = Policy(relative_tolerance=0.5)):
        super().__init__(policy=policy)
class Code(CodeVerifier):
    def __init__(self, limits: Limits = Limits(cpu_seconds=5)):
        super().__init__(limits=limits)
class SQL(SQLVerifier):
    def __init__(self, query_limits: QueryLimits = QueryLimits(seconds=5.0)):
        super().__init__(query_limits=query_limits)
"""


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["math", "--verifier.policy.units", "IGNORED"], {"units": "IGNORED", "relative_tolerance": 0.0}),
        (["code", "--verifier.limits.cpu_seconds", "9"], {"cpu_seconds": 9, "wall_seconds": 6.0}),
        (["sql", "--verifier.query_limits.seconds", "9"], {"seconds": 9.0, "max_rows": 10_000}),
        (["with_defaults.Math"], {"units": "COMPARED", "relative_tolerance": 0.5}),
        (["with_defaults.Code"], {"cpu_seconds": 5, "wall_seconds": 6.0}),
        (["with_defaults.SQL"], {"seconds": 5.0, "max_rows": 10_000}),
    ],
)
def test_settings_of_a_verifier_survive_print_config(flags, shown, build, tmp_path, monkeypatch, capsys):
    (tmp_path / "with_defaults.py").write_text(WITH_DEFAULTS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        build("--verifier", *flags, "--print_config")
    assert stopped.value.code == 0
    arguments = yaml.safe_load(capsys.readouterr().out)["verifier"]["init_args"]
    assert any(isinstance(value, dict) and shown.items() <= value.items() for value in arguments.values())


def test_an_objective_of_ones_own_comes_by_import_path(build, tmp_path, monkeypatch):
    (tmp_path / "doubling.py").write_text(
        "from rlsd_pl.objectives import Objective\n"
        "from rlsd_pl.types import Credit\n"
        "class Doubled(Objective):\n"
        "    def __init__(self, factor: float = 2.0, **kwargs):\n"
        "        super().__init__(**kwargs)\n"
        "        self.factor = factor\n"
        "    def credit(self, batch, iteration):\n"
        "        return Credit(self.factor * batch.advantages[:, None].expand_as(batch.rollout_logprobs))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cli = build("--objective", "doubling.Doubled", "--objective.factor", "3", "--context", "solution")
    assert cli.model.objective.factor == 3.0


def layers(*flags: str) -> list[str]:
    return [layer.path.relative_to(CONFIGS).as_posix() for layer in compose(flags).layers]


def test_the_order_of_presets_is_fixed_and_flags_come_last():
    flags = [
        "--data.group_size",
        "4",
        "--trainer",
        "cpu",
        "--teacher",
        "live",
        "--experiment=paper",
        "--objective=opsd",
    ]
    assert layers(*flags) == [
        "default.yaml",
        "engine/grouped.yaml",
        "trainer/cpu.yaml",
        "logger/tensorboard.yaml",
        "model/lab.yaml",
        "task/lab.yaml",
        "task/lab/SolutionContext.yaml",
        "objective/opsd.yaml",
        "task/lab/SolutionContext.yaml",
        "experiment/paper.yaml",
        "teacher/live.yaml",
    ]
    assert expand(flags)[-2:] == ["--data.group_size", "4"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--objective", "sdpo"], "FirstOf"),
        (["--objective", "cepo"], "RejectedAnswers"),
        (["--objective", "rlcsd"], "SuccessfulSibling"),
        (["--context", "answer"], "AnswerContext"),
        (["--context", "rlsd_pl.contexts.AnswerContext"], "AnswerContext"),
    ],
)
def test_a_task_words_whatever_context_is_chosen(flags, words):
    assert f"task/lab/{words}.yaml" in layers(*flags)
    assert f"task/lab/{words}.yaml" not in layers("--task", "gsm8k", *flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--objective", "nope"], "expected one of: cepo, gated, grpo_opsd, opd,"),
        (["--objective", "rlds"], "Did you mean 'rlsd'?"),
        (["--objective"], "--objective got no value"),
        (["--objective", "entropi.X"], "--objective got 'entropi.X': No module named 'entropi'"),
        (["--objective", "rlsd_pl.objectives.Nope"], "has no attribute 'Nope'"),
        (["--objective.epsilonw", "0.3"], "--objective.epsilonw: RLSD has no such setting"),
        (["--objective.epsilon_w", "much"], "--objective.epsilon_w got 'much'; expected a number"),
        (["--objective.strength", "Nope"], "--objective.strength got 'Nope'; expected the import path of a class"),
        (["--verifier", "math", "--verifier.rule", "lastnumber"], "LastLine, LastNumber"),
        (["--objective.strength.value", "1"], "Schedule is abstract; set --objective.strength to a class first"),
        (["--teacher.every", "x"], "--teacher.every got 'x'; expected a whole number"),
        (["--verifier", "math", "--verifier.policy.units", "NO"], "got 'NO'; expected one of COMPARED, IGNORED"),
        (["--optimizer.lr", "fast"], "--optimizer.lr got 'fast'; expected a number"),
        (["--optimizer.momentum", "0.9"], "--optimizer.momentum"),
        (["--model.dtype", "float8"], "--model.dtype got 'float8'; expected one of auto, float32, bfloat16, float16"),
        (["--task", "jsonl"], "TableTask needs --task.path"),
        (["--context.template", "{{ prompt"], "context.template='{{ prompt'"),
        (["--data.group_size", "-8"], "data.group_size=-8"),
        (["--data.group_szie", "8"], "Did you mean --data.group_size?"),
        (["--trainer.max_epochs", "ten"], "--trainer.max_epochs got 'ten'; expected a whole number"),
        (["--trainer.accelerator", "tpux"], "tpux"),
        (["--resume", "/nowhere"], "/nowhere holds no run"),
        (["--model.name_or_path", "/nowhere"], "No model folder at /nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_told_in_one_line_before_training(flags, said, capsys, tmp_path, monkeypatch):
    from rlsd_pl.commands.cli import build as build_parts

    monkeypatch.chdir(tmp_path)
    message = fails(capsys, build_parts, flags)
    assert said in message
    assert "Traceback" not in message
    assert "Union" not in message
    assert len(message) < 700
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "flags", "said"),
    [
        ("", [], "is empty"),
        ('{"prompt": "1+1?", "answer": "2"}\n' * 3, ["--task.prompt_column", "question"], "no column 'question'"),
        ("not json\n", [], "cannot be read as json"),
        (None, [], "No file at"),
    ],
)
def test_mistakes_in_data_are_told_before_training(content, flags, said, capsys, tmp_path, tiny_model, monkeypatch):
    from rlsd_pl.commands.cli import build as build_parts

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    arguments = ["--task", "jsonl", "--task.path", str(path), "--model", str(tiny_model), *flags]
    assert said in fails(capsys, build_parts, arguments)


def test_a_folder_that_holds_a_run_is_refused(capsys, tmp_path, tiny_model):
    from rlsd_pl.commands.cli import build as build_parts

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "iteration-000001.ckpt").touch()
    said = fails(capsys, build_parts, ["--run_dir", str(tmp_path), "--model", str(tiny_model)])
    assert "already holds a run" in said
    assert "--resume" in said


@pytest.mark.parametrize(
    "program",
    [[str(REPOSITORY / "scripts" / "fit.py")], ["-m", "rlsd_pl", "fit"], ["-m", "rlsd_pl", "sweep"]],
    ids=["script", "fit", "sweep"],
)
def test_help_is_readable_and_loads_no_library(program):
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *program, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - start < 60
    assert "--objective" in done.stdout
    assert "rlsd (default)" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "lightning", "transformers", "jsonargparse"} & loaded


def test_the_resolved_configuration_can_be_printed(capsys, tmp_path, monkeypatch, tiny_model):
    from rlsd_pl.commands.cli import build as build_parts

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        build_parts(["--model", str(tiny_model), "--print_config"])
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["objective"]["class_path"] == "rlsd_pl.objectives.RLSD"
    assert json.dumps(printed)
