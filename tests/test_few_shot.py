"""System prompts and worked examples: where they stand, where they come from, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rlsd_pl.commands.runs import RUN_DIR_VARIABLE
from rlsd_pl.contexts import SolutionContext
from rlsd_pl.errors import SetupError
from rlsd_pl.models import load_tokenizer
from rlsd_pl.policy import Policy, encode_chat
from rlsd_pl.rollout.sampler import student_messages, teacher_messages
from rlsd_pl.tasks import TableTask
from rlsd_pl.verifiers import MathVerifier
from rlsd_pl.verifiers.extraction import HashLine

GSM8K_COLUMNS = {
    "prompt_column": "question",
    "answer_pattern": "#### (.+)",
    "privileged": {"solution": "answer"},
    "val_fraction": 0.3,
}


@pytest.fixture(autouse=True)
def _command_line(monkeypatch):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["fit.py"])


def table(tmp_path: Path, rows: list[dict], name: str = "table.jsonl") -> str:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [{"prompt": f"{n} + {n}?", "answer": str(2 * n), "solution": f"twice {n}: {2 * n}"} for n in range(20)]


def test_examples_are_turns_behind_the_system_turn_and_before_the_problem(tmp_path):
    task = TableTask(table(tmp_path, ROWS), system_prompt="Be short.", few_shot=2)
    for split in ("train", "val"):
        messages = task.problem(split, 0).messages
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert messages[0]["content"] == "Be short."
        for asked, told in ((messages[1], messages[2]), (messages[3], messages[4])):
            n = int(asked["content"].split()[0])
            assert (asked["content"], told["content"]) == (f"{n} + {n}?", f"twice {n}: {2 * n}")
        assert task.problem(split, 0).prompt == messages[-1]["content"]


def prompts(task: TableTask, split) -> set[str]:
    return {task.problem(split, i).prompt for i in range(task.size(split))}


@pytest.mark.parametrize("seed", range(5))
def test_examples_come_from_the_training_problems_and_are_not_trained_on(tmp_path, seed):
    path = table(tmp_path, ROWS)
    plain, task = TableTask(path, val_fraction=0.3), TableTask(path, val_fraction=0.3, few_shot=3, seed=seed)
    shown = {example.prompt for example in task.examples}
    assert len(shown) == 3
    assert shown <= prompts(plain, "train")
    assert prompts(task, "train") == prompts(plain, "train") - shown
    assert prompts(task, "val") == prompts(plain, "val")
    assert task.examples == TableTask(path, val_fraction=0.3, few_shot=3, seed=seed).examples


def test_the_seed_draws_the_examples(tmp_path):
    path = table(tmp_path, ROWS)
    assert len({TableTask(path, few_shot=1, seed=seed).examples[0].prompt for seed in range(10)}) > 3


def test_a_row_that_repeats_an_example_is_not_trained_on_either(tmp_path):
    rows = [*ROWS[:4], ROWS[1], ROWS[2], ROWS[3]]
    task = TableTask(table(tmp_path, rows, "a.jsonl"), val_path=table(tmp_path, ROWS[10:], "b.jsonl"), few_shot=2)
    assert len(prompts(task, "train")) == 2
    assert not {example.prompt for example in task.examples} & prompts(task, "train")


def test_rows_without_a_worked_solution_are_no_examples(tmp_path):
    rows = [{**row, "solution": row["solution"] if n == 7 else ""} for n, row in enumerate(ROWS[:9])]
    path, val = table(tmp_path, rows, "a.jsonl"), table(tmp_path, ROWS[10:], "b.jsonl")
    assert TableTask(path, val_path=val, few_shot=1).examples[0].prompt == "7 + 7?"
    with pytest.raises(SetupError, match=r"few_shot=2; 1 of the training problems have a worked solution"):
        TableTask(path, val_path=val, few_shot=2)


@pytest.mark.parametrize(
    "row", [{"prompt": "1 + 2?", "solution": "3"}, {"question": "1 + 2?", "answer": "3\n#### 3", "note": "mine"}]
)
def test_a_file_of_examples_has_the_table_s_columns_or_prompt_and_solution(tmp_path, problem_file, row):
    file = table(tmp_path, [row], "shots.jsonl")
    columns = {**GSM8K_COLUMNS, "privileged": {"solution": "answer"}}
    task = TableTask(str(problem_file), few_shot=file, **columns)
    messages = task.problem("train", 0).messages
    assert [m["content"] for m in messages[:2]] == ["1 + 2?", row.get("solution", "3\n#### 3")]
    assert task.examples[0].problem.answer == ("3" if "question" in row else None)


def test_a_file_of_examples_must_hold_no_held_out_problem(tmp_path):
    path = table(tmp_path, ROWS)
    held_out = TableTask(path).problem("val", 0)
    file = table(tmp_path, [ROWS[0], {"prompt": f" {held_out.prompt}\n", "solution": "x"}], "shots.jsonl")
    with pytest.raises(SetupError, match=r"held-out problems: .*shots\.jsonl, row 2"):
        TableTask(path, few_shot=file)


@pytest.mark.parametrize(
    ("few_shot", "said"),
    [
        (-1, r"few_shot=-1; expected a whole number from 0"),
        (65, r"few_shot=65; expected a whole number from 0 to 64"),
        ("nowhere.jsonl", r"few_shot='nowhere\.jsonl'; expected a number of examples, or an existing"),
        ("true", r"few_shot='true'; expected a number"),
        ([{"prompt": "1?", "steps": "1"}], r"no column with the worked solution: it has prompt, steps"),
        ([{"text": "1?", "solution": "1"}], r"no column with the problem: it has text, solution"),
        ([{"prompt": "1?", "solution": " "}], r"row 1: the problem or its solution is blank"),
    ],
)
def test_what_is_refused(tmp_path, few_shot, said):
    if isinstance(few_shot, list):
        few_shot = table(tmp_path, few_shot, "shots.jsonl")
    with pytest.raises(SetupError, match=said):
        TableTask(table(tmp_path, ROWS), few_shot=few_shot)


def test_zero_examples_are_none(tmp_path):
    assert TableTask(table(tmp_path, ROWS), few_shot=0).problem("train", 0).messages[0]["role"] == "user"


# --- what the model sees, on real rows -------------------------------------------------------------------------------


def test_student_and_teacher_see_them(tiny_model, problem_file):
    policy = Policy.from_pretrained(str(tiny_model))
    task = TableTask(str(problem_file), system_prompt="Be short.", few_shot=1, **GSM8K_COLUMNS)
    problem, verifier = task.problem("train", 0), MathVerifier(rule=HashLine())
    (example,) = task.examples
    before = f"<|system|>Be short.<|end|><|user|>{example.problem.prompt}<|end|><|assistant|>{example.solution}<|end|>"
    student = policy.tokenizer.decode(policy.encode(student_messages(problem, verifier)))
    asked = f"{problem.prompt}\n\n{verifier.instruction}"
    assert student == f"{before}<|user|>{asked}<|end|><|assistant|>"
    context = SolutionContext(template="{{ privileged }} || {{ prompt }}")
    solution = problem.privileged["solution"]
    teacher = policy.tokenizer.decode(policy.encode(teacher_messages(context, problem, verifier, solution)))
    assert teacher == f"{before}<|user|>{solution} || {asked}<|end|><|assistant|>"
    system = SolutionContext(place="system", template="{{ privileged }}")
    teacher = policy.tokenizer.decode(policy.encode(teacher_messages(system, problem, verifier, solution)))
    assert teacher == f"<|system|>{solution}\n\n{student.removeprefix('<|system|>')}"


def run(flags: list[str], tiny_model, problem_file, tmp_path):
    from rlsd_pl.commands.cli import fit

    return fit(
        [
            *("--task", "gsm8k", "--task.path", str(problem_file), "--task.val_fraction", "0.3", *flags),
            *("--model", str(tiny_model), "--run_dir", str(tmp_path / "run"), "--trainer", "cpu"),
            *("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--data.val_problems", "2"),
            *("--data.prompts_per_rollout", "2", "--data.group_size", "2", "--data.val_samples", "1"),
            *("--data.max_completion_tokens", "6", "--data.max_skipped_share", "0.9"),
        ]
    )


def test_a_run_with_examples_a_system_prompt_and_a_lenient_rule(tiny_model, problem_file, tmp_path):
    from rlsd_pl.commands.runs import read_history

    flags = ["--task.few_shot", "2", "--task.system_prompt", "#### no comment", "--verifier.rule", "LastNumber"]
    cli = run([*flags, "--data.max_prompt_tokens", "3000"], tiny_model, problem_file, tmp_path)
    messages = cli.datamodule.task.problem("train", 0).messages
    assert messages[0] == {"role": "system", "content": "#### no comment"}
    assert len(messages) == 6
    logged = read_history(tmp_path / "run")
    assert {"val/strict_accuracy", "rollout/strict_accuracy"} <= logged.keys()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task.few_shot", "1"], "whose solution the verifier does not pass (no_answer)"),
        (
            ["--task.few_shot", "1", "--verifier.rule", "HashLine", "--data.max_prompt_tokens", "50"],
            "prompt longer than data.max_prompt_tokens=50",
        ),
        (["--task.few_shot", "x.jsonl"], "Got task.few_shot='x.jsonl'"),
    ],
)
def test_mistakes_are_told_before_training(flags, said, tiny_model, problem_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(flags, tiny_model, problem_file, tmp_path)
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


# --- models without a chat template ----------------------------------------------------------------------------------


def test_without_a_chat_template_chats_are_plain_text(tiny_model, tmp_path, caplog):
    import shutil

    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer = load_tokenizer(str(folder))
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "1 + 2?"},
    ]
    text = "Be short.\n\nQuestion: 1 + 1?\nAnswer: 2<|end|>\n\nQuestion: 1 + 2?\nAnswer:"
    assert tokenizer.decode(encode_chat(tokenizer, chat)) == text
    begun = [*chat, {"role": "assistant", "content": " So"}]
    assert tokenizer.decode(encode_chat(tokenizer, begun)) == f"{text} So"


# --- reasoning-gym ---------------------------------------------------------------------------------------------------


def gym(**kwargs):
    pytest.importorskip("reasoning_gym")
    from rlsd_pl.tasks import ReasoningGymTask

    return ReasoningGymTask("chain_sum", {"max_terms": 2, "max_digits": 1}, val_size=8, **kwargs)


def test_examples_of_reasoning_gym_are_never_asked():
    task = gym(system_prompt="Be short.", few_shot=3)
    shown = {example.prompt for example in task.examples}
    asked = [task.problem("train", i) for i in range(400)]
    assert not shown & {problem.prompt for problem in asked}
    assert not shown & {task.problem("val", i).prompt for i in range(8)}
    assert shown & {gym().problem("train", i).prompt for i in range(400)}  # without examples they are
    assert [m["role"] for m in asked[0].messages] == ["system", *["user", "assistant"] * 3, "user"]
    for example in task.examples:
        assert example.solution == example.problem.answer
    assert [gym().problem("val", i).prompt for i in range(8)] == [task.problem("val", i).prompt for i in range(8)]


def test_a_file_of_examples_for_reasoning_gym(tmp_path):
    file = table(tmp_path, [{"question": "State the final answer: 1 + 1 =", "solution": "2"}], "shots.jsonl")
    assert gym(few_shot=file).problem("val", 0).messages[1] == {"role": "assistant", "content": "2"}
    held_out = gym().problem("val", 3).prompt
    file = table(tmp_path, [{"prompt": held_out, "solution": "2"}], "held.jsonl")
    with pytest.raises(SetupError, match="held-out problems"):
        gym(few_shot=file)
