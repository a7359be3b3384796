"""The commands, the names of a quick start, what a run resolved to, and the Trainer of fit and of Python users."""

from __future__ import annotations

import subprocess
import sys

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger

import rlsd_pl
from rlsd_pl.callbacks import ConsoleReport, HuggingFaceExport, RolloutMetrics
from rlsd_pl.commands.main import COMMANDS, main
from rlsd_pl.commands.presets import compose
from rlsd_pl.commands.resolved import resolved_lines, show_resolved
from rlsd_pl.persistence.iterations import IterationCheckpoint
from rlsd_pl.trainer import rollout_trainer


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_or_its_formulas_loads_no_trainer():
    heavy = "{'lightning', 'transformers', 'peft', 'datasets', 'jsonargparse'} & set(sys.modules)"
    assert run("import sys, rlsd_pl; sys.exit('torch' in sys.modules)").returncode == 0
    code = f"import sys, rlsd_pl.functional, rlsd_pl.objectives, rlsd_pl.objectives.parts; sys.exit(str({heavy} or 0))"
    assert run(code).stderr.strip() in ("", "0")


def test_the_names_of_a_quick_start_are_there():
    names = ["PolicyModule", "RolloutDataModule", "rollout_trainer", "RLSD", "RLVR", "OPSD", "ChainTask", "LabVerifier"]
    names += ["TransformersEngine", "AnswerContext", "SolutionContext", "LiveTeacher", "PeriodicTeacher"]
    names += ["MathVerifier", "TableTask", "LoRA"]
    assert set(names) <= set(dir(rlsd_pl))
    assert {getattr(rlsd_pl, name).__name__ for name in names} == set(names)
    with pytest.raises(AttributeError, match="has no attribute 'Nope'"):
        rlsd_pl.Nope  # noqa: B018


def test_commands_are_named_and_a_wrong_one_is_told(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    main(["--version"])
    assert capsys.readouterr().out == f"{rlsd_pl.__version__}\n"
    with pytest.raises(SystemExit) as stopped:
        main(["train"])
    assert stopped.value.code == 2
    assert "expected one of: fit, evaluate, preflight, rollouts, sweep" in capsys.readouterr().err


# --- what a run resolved to ------------------------------------------------------------------------------------------


def parsed(monkeypatch, *flags: str):
    from rlsd_pl.commands.cli import PartsCLI, quiet_libraries

    class Parsed(PartsCLI):
        def instantiate_classes(self) -> None:
            """Nothing is built."""

    monkeypatch.setattr(sys, "argv", ["fit"])
    quiet_libraries()
    composition = compose(flags)
    return Parsed(composition.arguments).config, composition


def found(monkeypatch, *flags: str) -> dict[str, tuple[str, str]]:
    return {line.name: (line.value, line.source) for line in resolved_lines(*parsed(monkeypatch, *flags))}


def test_an_experiment_applies_last_and_shows_in_the_lab(monkeypatch):
    lab, paper = found(monkeypatch), found(monkeypatch, "--experiment", "paper")
    assert lab["learning rate"] == ("0.0002", "model lab")
    assert (lab["rollout"], lab["iterations"]) == (("8 prompts x 8", "task lab, default.yaml"), ("80", "task lab"))
    assert paper["learning rate"] == ("1e-06", "experiment paper")
    assert paper["weight decay"] == ("0.01", "experiment paper")
    assert paper["rollout"] == ("32 prompts x 8", "experiment paper")
    assert paper["iterations"] == ("200", "experiment paper")


def test_what_is_typed_wins_and_is_named(monkeypatch):
    lines = found(
        monkeypatch,
        *("--experiment", "paper", "--optimizer.lr", "3e-5", "--teacher", "periodic", "--teacher.every", "5"),
        *("--objective.epsilon_w=0.3", "--context.template", "{{ prompt }} [{{ privileged }}]"),
    )
    assert lines["learning rate"] == ("3e-05", "--optimizer.lr")
    assert lines["teacher"] == ("PeriodicTeacher (every 5)", "teacher periodic, --teacher.every")
    assert lines["objective"] == ("RLSD (epsilon_w 0.3)", "objective rlsd, --objective.epsilon_w")
    assert lines["template"] == ("{{ prompt }} [{{ privileged }}]", "--context.template")


def test_a_file_of_ones_own_is_named(monkeypatch, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("optimizer:\n  init_args:\n    lr: 7.0e-6\n")
    assert found(monkeypatch, "--config", str(path))["learning rate"] == ("7e-06", str(path))


@pytest.mark.parametrize(
    ("flags", "context", "contrast"),
    [
        (["--objective", "rlsd"], "SolutionContext", None),
        (["--objective", "cepo"], "SolutionContext", "RejectedSiblings (count 1, pattern =([0-9]);)"),
        (
            ["--objective", "rlcsd"],
            "SuccessfulSibling (pattern =([0-9]);)",
            "RejectedSiblings (count 4, pattern =([0-9]);)",
        ),
        (["--objective", "sdpo"], "SuccessfulSibling (pattern =([0-9]);)", None),
        (["--objective", "opd"], "BareContext", None),
        (["--context", "sibling"], "SuccessfulSibling (pattern =([0-9]);)", None),
        (["--task", "gsm8k", "--objective", "rlsd"], "AnswerContext", None),
        (["--task", "gsm8k", "--objective", "cepo"], "AnswerContext", "RejectedAnswers (count 1)"),
        (["--task", "humaneval", "--objective", "opsd"], "SolutionContext (field canonical_solution)", None),
        (["--task", "humaneval", "--objective", "rlsd"], "SolutionContext (field canonical_solution)", None),
    ],
)
def test_the_objective_names_the_context_and_the_task_words_it(flags, context, contrast, monkeypatch):
    config, composition = parsed(monkeypatch, *flags)
    lines = {line.name: line.value for line in resolved_lines(config, composition)}
    assert lines["context"] == context
    assert lines.get("contrast") == contrast
    if "--task" not in flags and context != "BareContext":
        assert lines["template"] == "{{ privileged }}|{{ prompt }}"


def test_adapters_have_a_learning_rate_of_their_own(monkeypatch, capsys):
    model = ["--task", "jsonl", "--task.path", "x", "--model", "Qwen/Qwen3-0.6B"]
    lines = found(monkeypatch, *model, "--adapter", "lora")
    assert lines["model"] == ("Qwen/Qwen3-0.6B, LoRA rank 16", "--model.name_or_path")
    assert lines["learning rate"] == ("2e-05", "adapter lora")
    assert found(monkeypatch, *model)["learning rate"] == ("1e-06", "default.yaml")
    assert found(monkeypatch, *model, "--experiment", "paper", "--adapter", "lora")["learning rate"][0] == "2e-05"
    typed = found(monkeypatch, *model, "--adapter", "lora", "--optimizer.lr", "1e-4", "--model.lora.r", "4")
    assert (typed["learning rate"][0], typed["model"][0]) == ("0.0001", "Qwen/Qwen3-0.6B, LoRA rank 4")
    show_resolved(*parsed(monkeypatch, *model, "--model.lora.r", "4"))
    assert "--adapter lora" in capsys.readouterr().out
    show_resolved(*parsed(monkeypatch, *model, "--adapter", "lora"))
    assert "--adapter lora" not in capsys.readouterr().out


# --- the Trainer -----------------------------------------------------------------------------------------------------


def kinds(trainer) -> set[type]:
    return {type(callback) for callback in trainer.callbacks}


def test_a_trainer_with_a_folder_saves_and_logs(tmp_path):
    trainer = rollout_trainer(tmp_path, max_iterations=3, accelerator="cpu")
    assert (trainer.max_epochs, trainer.reload_dataloaders_every_n_epochs, trainer.num_sanity_val_steps) == (
        3,
        1,
        float("inf"),
    )
    assert {ConsoleReport, RolloutMetrics, HuggingFaceExport, IterationCheckpoint} <= kinds(trainer)
    assert {type(logger).__name__ for logger in trainer.loggers} == {"MetricsLogger", "TensorBoardLogger"}
    (checkpoint,) = trainer.checkpoint_callbacks
    assert checkpoint.checkpoints == tmp_path / "checkpoints"
    assert trainer.default_root_dir == str(tmp_path)


def test_a_trainer_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = rollout_trainer(max_iterations=1, accelerator="cpu")
    assert not trainer.loggers
    assert not trainer.checkpoint_callbacks
    assert RolloutMetrics in kinds(trainer)
    assert HuggingFaceExport not in kinds(trainer)
    assert not list(tmp_path.iterdir())


def test_what_is_given_to_a_trainer_stays(tmp_path):
    checkpoint, logger, timer = ModelCheckpoint(dirpath=tmp_path / "mine"), CSVLogger(tmp_path, name="mine"), Timer()
    trainer = rollout_trainer(
        tmp_path, callbacks=[timer, checkpoint], logger=logger, gradient_clip_val=0.5, max_epochs=7, accelerator="cpu"
    )
    assert {type(c) for c in trainer.checkpoint_callbacks} == {IterationCheckpoint, ModelCheckpoint}
    assert checkpoint in trainer.checkpoint_callbacks
    assert trainer.loggers == [logger]
    assert (trainer.gradient_clip_val, trainer.max_epochs) == (0.5, 7)
    assert ConsoleReport not in kinds(trainer)
    assert {Timer, RolloutMetrics} <= kinds(trainer)
    assert not rollout_trainer(tmp_path, enable_checkpointing=False, accelerator="cpu").checkpoint_callbacks
