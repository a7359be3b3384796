"""What is typed is what arrives: on the command line, in files, through a run's config.yaml, and on real rows."""

from __future__ import annotations

import json
import sys
import typing
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlsd_pl.commands.parser import MODE, Parser, dump, is_text, read
from rlsd_pl.commands.presets import compose, expand
from rlsd_pl.contexts import AnswerContext, Context
from rlsd_pl.engines import Engine
from rlsd_pl.objectives import Objective
from rlsd_pl.tasks.base import Task
from rlsd_pl.teachers import Teacher
from rlsd_pl.types import Rollout, Status
from rlsd_pl.verifiers.base import Verifier
from tests.conftest import GSM8K

TASK = ["--task", "rlsd_pl.tasks.TableTask", "--task.path", "rows.jsonl"]

# What YAML, OmegaConf, argparse or JSON would read as something else.
TRAPS = [
    *("#### (.+)", "#([0-9])", "# a comment", "a # b", "[0-9]", "[0-9]+", "[", "{", "}", "{a: b}", "{a}", "(?s)a|b"),
    *("null", "Null", "NULL", "~", "none", "None", "true", "True", "false", "yes", "no", "on", "off", "y", "n"),
    *("0", "007", "1e5", "1.5e-3", "0x1F", "0o17", "1_000", ".5", "5.", "+1", "-1", ".inf", "-.inf", ".nan", "nan"),
    *("12:30:45", "2024-01-05", "9007199254740993", "&a", "*a", "&a b", "!tag x", "!!str x", "%x", "@x", "`x`"),
    *(
        "'q'",
        '"q"',
        "'",
        '"',
        "''",
        '""',
        "'a' b",
        "a: b",
        "a:",
        ": a",
        "- a",
        "-",
        "--",
        "--",
        "---",
        "...",
        "? a",
        "|",
        ">",
    ),
    *(
        "|\n a",
        "a\n# b\n",
        "a\nb: c",
        "\n",
        "\t",
        " ",
        "  a  ",
        "",
        "\\",
        "\\n",
        r"\boxed{x}",
        r"\d+\.\d",
        "a\\",
        "é",
        "日本",
    ),
    *("${oc.env:HOME}", "${a}", "$", "${", "It costs ${{ prompt }}", "{{ prompt }}|{{ privileged }}", "{% if a %}"),
    *("You are a tutor: be brief.", "Reply: [yes, no]", "a=b", "=", "=a", "a,b", "/etc/hosts", "~/x", "../x", "C:\\x"),
    *("-x", "- x", "-8", "-1e5", "--x", "--x=y", "-h", "--help", "<<", "<< : a", "\u2028", "a\u0085b", "\ufeffa", "🎲"),
    *("rlsd_pl.tasks.TableTask", "==SUPPRESS==", "==UNSET==", "@file", "file://x", "NestedArg(key='a', val='b')"),
]


@pytest.fixture(scope="module")
def parser() -> Parser:
    """Only the parts with text of their own, so that hundreds of command lines are parsed in seconds."""
    parser = Parser(parser_mode=MODE, allow_abbrev=False)
    for name, base in {"task": Task, "verifier": Verifier, "context": Context, "objective": Objective}.items():
        parser.add_subclass_arguments(base, name, required=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--name", type=str)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--note", type=typing.Optional[str])  # noqa: UP045
    return parser


def texts(argument: str) -> list[str]:
    """The command line in every way in which a person may write it."""
    return [
        *(f"--name={argument}", f"--note={argument}", f"--folder={argument}", f"--task.prompt_column={argument}"),
        *(f"--task.answer_pattern={argument}", f"--task.init_args.system_prompt={argument}"),
        *(f"--task.privileged.hint={argument}", f"--task.where.column={argument}"),
        *(f"--objective.span={argument}", f"--context.template={argument}"),
    ]


PARTS = [*TASK, "--objective", "rlsd_pl.objectives.RLSD", "--context", "rlsd_pl.contexts.AnswerContext"]


def arrived(config) -> list[object]:
    task = config["task.init_args"]
    return [
        *(config["name"], config["note"], str(config["folder"]), task["prompt_column"], task["answer_pattern"]),
        *(task["system_prompt"], task["privileged"]["hint"], task["where"]["column"]),
        *(config["objective.init_args.span"], config["context.init_args.template"]),
    ]


def expected(text: str) -> list[object]:
    listed = text.startswith("[") and isinstance(read(text), list)
    where = [str(item) for item in yaml.load(text, yaml.BaseLoader)] if listed else text
    return [*(text, text, str(Path(text)), text, text, text, text, where, text, text)]


def check(parser: Parser, text: str, folder: Path) -> None:
    typed = parser.parse_args([*PARTS, *texts(text)])
    assert arrived(typed) == expected(text)
    saved = folder / "config.yaml"
    saved.write_text(parser.dump(typed, skip_unset=False))
    assert arrived(parser.parse_args(["--config", str(saved)])) == expected(text)


@pytest.mark.parametrize("text", TRAPS)
def test_a_text_arrives_from_the_command_line_and_from_the_file_that_a_run_writes(text, parser, tmp_path):
    check(parser, text, tmp_path)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30))
@example("'")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_arrives(parser, tmp_path, text):
    check(parser, text, tmp_path)


@pytest.mark.parametrize("text", [text for text in TRAPS if text and not text.startswith("--") and text != "-h"])
def test_flag_and_value_may_stand_apart(text, parser):
    typed = parser.parse_args([*TASK, "--name", text, "--task.answer_pattern", text, "--task.privileged.hint", text])
    assert (typed["name"], typed["task.init_args.answer_pattern"]) == (text, text)
    assert typed["task.init_args.privileged"] == {"hint": text}


@pytest.mark.parametrize("text", TRAPS)
def test_a_quoted_text_of_a_file_stays_that_text(text, parser, tmp_path):
    task = {"path": "x", "answer_pattern": text, "metadata": {"a": text}, "where": {"b": text, "c": [text, "d"]}}
    content = {
        "name": text,
        "task": {"class_path": "rlsd_pl.tasks.TableTask", "init_args": task},
        "verifier": {"class_path": "rlsd_pl.verifiers.RegexVerifier", "init_args": {"pattern": text}},
    }
    path = tmp_path / "given.yaml"
    # JSON is YAML in which every text is quoted; written by another library than the one that reads it.
    path.write_text(json.dumps(content, ensure_ascii=max(text, default="a") < "\U00010000"))
    config = parser.parse_args(["--config", str(path)])
    assert config["task.init_args"].as_dict() | task == config["task.init_args"].as_dict()
    assert (config["name"], config["verifier.init_args.pattern"]) == (text, text)
    assert parser.parse_object(content)["task.init_args.answer_pattern"] == text


def test_lists_and_mappings_of_texts_are_written_as_yaml(parser):
    typed = parser.parse_args(
        [*TASK, "--task.privileged", '{"hint": "#### x", "line": "a\\nb"}', "--task.where.level", '["1", "#2", 007]']
    )
    assert typed["task.init_args.privileged"] == {"hint": "#### x", "line": "a\nb"}
    assert typed["task.init_args.where"] == {"level": ["1", "#2", "007"]}


def test_a_setting_is_unset_in_a_file_or_by_yaml_behind_config(parser, tmp_path):
    (tmp_path / "unset.yaml").write_text("task:\n  init_args:\n    answer_column: null\n    system_prompt: ~\n")
    given_file = parser.parse_args([*TASK, "--config", str(tmp_path / "unset.yaml")])
    given_text = parser.parse_args([*TASK, "--config", "{task: {init_args: {answer_column: null}}}"])
    assert given_file["task.init_args.answer_column"] is given_text["task.init_args.answer_column"] is None
    assert parser.parse_args([*TASK, "--task.answer_column", "null"])["task.init_args.answer_column"] == "null"


def test_values_that_are_no_text_are_read_as_before(parser):
    typed = parser.parse_args([*TASK, "--task.val_fraction", "1e-1", "--verifier", "rlsd_pl.verifiers.MathVerifier"])
    assert typed["task.init_args.val_fraction"] == 0.1
    assert parser.parse_args([*TASK, "--folder", "~/x"])["folder"] == Path("~/x")


@pytest.mark.parametrize("text", TRAPS)
def test_what_is_dumped_is_read_back(text):
    assert yaml.safe_load(dump({"a": text, "b": [text]})) == {"a": text, "b": [text]}
    assert read(dump({"a": text})) == {"a": text}


def parts() -> list[type]:
    """Every part that can be chosen by class."""
    import inspect

    from rlsd_pl import contexts, engines, lab, objectives, teachers, verifiers
    from rlsd_pl.tasks import ReasoningGymTask, TableTask

    assert ReasoningGymTask
    assert TableTask
    # Some rooms import a part when it is first asked for.
    assert all(
        getattr(room, name) for room in (contexts, engines, lab, objectives, teachers, verifiers) for name in dir(room)
    )
    found, waiting = set(), [Task, Verifier, Context, Teacher, Objective, Engine]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += kind.__subclasses__()
    return sorted((kind for kind in found if not inspect.isabstract(kind)), key=lambda kind: kind.__qualname__)


def test_every_text_setting_of_every_part_takes_it_as_it_is():
    settings_of = {}
    for part in parts():
        parser = Parser(parser_mode=MODE, exit_on_error=False)
        parser.add_class_arguments(part, "part")
        names = [action.dest for action in parser._actions if is_text(getattr(action, "_typehint", None))]
        settings_of[part.__name__] = {name.removeprefix("part.") for name in names}
        for text in ("#### (.+)", "null", "[0-9]", "1e5", "a: b", "${a}") if names else ():
            typed = parser.parse_args([f"--{name}={text}" for name in names], _skip_validation=True)
            assert {name: typed[name] for name in names} == dict.fromkeys(names, text), part
    assert {"path", "prompt_column", "answer_pattern", "system_prompt", "hub_config"} <= settings_of["TableTask"]
    assert settings_of["RLSD"] == settings_of["CEPO"] | {"span"}
    assert {"pattern", "instruction"} <= settings_of["RegexVerifier"]
    assert {"template", "pattern", "hidden", "separator"} <= settings_of["SuccessfulSibling"]


# --- the whole command -----------------------------------------------------------------------------------------------


def resolved(*flags: str) -> dict:
    """What ``fit --print_config`` prints of presets and flags."""
    from rlsd_pl.commands.cli import PartsCLI, quiet_libraries

    class Parsed(PartsCLI):
        def instantiate_classes(self) -> None:
            """Nothing is built."""

    quiet_libraries()
    cli = Parsed(expand(flags))
    return yaml.safe_load(cli.parser.dump(cli.config, skip_unset=False))


@pytest.fixture(autouse=True)
def _no_arguments_of_pytest(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fit"])


README_PATTERN = ["--task", "jsonl", "--task.prompt_column", "question", "--task.answer_pattern", "#### (.+)"]


def test_the_preset_and_the_command_of_the_readme_keep_the_answer_pattern():
    assert resolved("--task", "gsm8k")["task"]["init_args"]["answer_pattern"] == "#### (.+)"
    typed = resolved(*README_PATTERN, "--task.path", "data.jsonl")
    assert typed["task"]["init_args"]["answer_pattern"] == "#### (.+)"


def test_texts_at_the_top_of_fit_arrive():
    typed = resolved(
        *("--model", "null", "--model.attn_implementation", "~", "--objective.span", "#([0-9])"),
        *("--context.template", "It costs ${{ prompt }}: {{ privileged }}", "--model.lora.target_modules", "[qv]_proj"),
        *("--teacher", "external", "--teacher.name_or_path", "1e5", "--model.chat_template_kwargs.effort", "low"),
        *("--model.chat_template_kwargs.enable_thinking", "false"),
    )
    assert typed["model"]["name_or_path"] == "null"
    assert typed["model"]["attn_implementation"] == "~"
    assert typed["model"]["lora"]["target_modules"] == "[qv]_proj"
    assert typed["model"]["chat_template_kwargs"] == {"effort": "low", "enable_thinking": False}
    assert typed["teacher"]["init_args"]["name_or_path"] == "1e5"
    assert typed["objective"]["init_args"]["span"] == "#([0-9])"
    assert typed["context"]["init_args"]["template"] == "It costs ${{ prompt }}: {{ privileged }}"


# --- GSM8K's real rows -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not GSM8K.exists(), reason="the public data files are not beside the repository")
@pytest.mark.parametrize("flags", [["--task", "gsm8k"], README_PATTERN], ids=["preset", "readme"])
def test_sixty_of_sixty_right_answers_of_gsm8k_pass(flags, tmp_path):
    rows = [json.loads(line) for line in GSM8K.read_text().splitlines()[:60]]
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = {row["question"]: row["answer"].split("####")[1].strip() for row in rows}
    task, verifier = built(*flags, "--task.path", str(path), "--task.val_fraction", "0.1")
    problems = [task.problem(split, i) for split in ("train", "val") for i in range(task.size(split) or 0)]
    assert {p.messages[-1]["content"] for p in problems} == set(answers)
    written = [f"So it is \\boxed{{{answers[p.messages[-1]['content']]}}}." for p in problems]
    try:
        assert [v.status for v in verifier.verify(written, problems)] == [Status.PASS] * 60
        wrong = [f"So it is \\boxed{{{answers[p.messages[-1]['content']]}1}}." for p in problems]
        assert [v.status for v in verifier.verify(wrong, problems)] == [Status.FAIL] * 60
    finally:
        verifier.close()
    for problem in problems:
        shown = AnswerContext().privileged([_rollout(problem)], 0)
        assert shown == answers[problem.messages[-1]["content"]]
        assert "<<" not in shown


def built(*flags: str) -> tuple[Task, Verifier]:
    """Task and verifier of a composed configuration."""
    parser = Parser(parser_mode=MODE)
    parser.add_subclass_arguments(Task, "task")
    parser.add_subclass_arguments(Verifier, "verifier")
    config = resolved(*flags)
    made = parser.instantiate_classes(parser.parse_object({key: config[key] for key in ("task", "verifier")}))
    return made.task, made.verifier


def _rollout(problem):
    from rlsd_pl.types import Completion, Verdict

    return Rollout(problem, Completion((1,), (0.0,), ""), Verdict(0.0, Status.FAIL))


def test_compose_and_expand_agree():
    assert compose(["--task", "gsm8k"]).arguments == expand(["--task", "gsm8k"])


def test_leakage_detection_is_set_by_short_flags():
    config = resolved("--leakage.on_leak", "Scale", "--leakage.on_leak.factor", "0.25", "--leakage.every", "2")
    assert config["leakage"]["class_path"] == "rlsd_pl.callbacks.LeakageDetection"
    settings = config["leakage"]["init_args"]
    assert settings["every"] == 2
    assert settings["on_leak"] == {
        "class_path": "rlsd_pl.callbacks.Scale",
        "init_args": {"factor": 0.25, "least": 0.0},
    }
    assert resolved("--leakage", "null")["leakage"] is None


def test_rules_and_shifted_problems_are_set_in_files(tmp_path):
    (tmp_path / "rules.yaml").write_text(
        "leakage:\n  class_path: rlsd_pl.callbacks.LeakageDetection\n  init_args:\n    rules:\n"
        "      - {class_path: rlsd_pl.leakage.Above, init_args: {key: leakage/phrase_rate, limit: 0.05, checks: 3}}\n"
    )
    config = resolved("--config", str(tmp_path / "rules.yaml"), "--shifted", "rlsd_pl.lab.ChainTask")
    (rule,) = config["leakage"]["init_args"]["rules"]
    assert rule["init_args"] == {"key": "leakage/phrase_rate", "limit": 0.05, "checks": 3}
    assert config["shifted"]["class_path"] == "rlsd_pl.lab.ChainTask"
