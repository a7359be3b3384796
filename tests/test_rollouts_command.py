"""``rlsd-pl rollouts``: which records are shown, in what order, and how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rlsd_pl.commands.main import main
from rlsd_pl.commands.rollouts import rendered
from tests.conftest import REPOSITORY


def record(iteration: int, problem: str, status: str, reward: float, completion: str = "so 4", **more) -> dict:
    return {
        "iteration": iteration, "problem": problem, "prompt": "2 + 2?", "completion": completion,
        "tokens": ["so", "\u0120", "4", "<eos>"], "reward": reward, "status": status, "detail": "exact", "answer": "4",
        "reference_answer": "4", "truncated": False, "advantage": 0.5, "token_advantages": [0.5, 0.0, -1.0, 0.5],
        **more,
    }  # fmt: skip


RECORDS = [
    record(1, "t/train/1", "pass", 1.0),
    record(1, "t/train/2", "fail", 0.0),
    record(2, "t/train/1", "fail", 0.25),
    record(3, "t/train/3", "invalid", 0.0, answer=None),
]


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in RECORDS) + '{"torn": ')
    return tmp_path


def heads(run: Path, capsys, *flags: str) -> list[tuple[int, str]]:
    assert main(["rollouts", str(run), *flags]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("iteration ")]
    return [(int(words[1]), words[2].rpartition("/")[2]) for words in lines]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], [(1, "1"), (1, "2"), (2, "1"), (3, "3")]),
        (["--iteration", "2"], [(2, "1")]),
        (["--iteration", "2:"], [(2, "1"), (3, "3")]),
        (["--iteration", ":1"], [(1, "1"), (1, "2")]),
        (["--status", "fail,invalid"], [(1, "2"), (2, "1"), (3, "3")]),
        (["--reward", "0"], [(1, "2"), (3, "3")]),
        (["--reward", "0.1:0.9"], [(2, "1")]),
        (["--problem", "train/1"], [(1, "1"), (2, "1")]),
        (["--limit", "1"], [(1, "1")]),
        (["--best", "--limit", "2"], [(1, "1"), (2, "1")]),
        (["--worst"], [(1, "2"), (3, "3"), (2, "1"), (1, "1")]),
        (["--worst", "--status", "fail", "--limit=1"], [(1, "2")]),
    ],
)
def test_filters_and_orders(run, capsys, flags, expected):
    assert heads(run, capsys, *flags) == expected


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--status", "passed"], "argument --status: got 'passed'; expected some of pass, fail, invalid, limit, error"),
        (["--iteration", "x"], "argument --iteration: got 'x'; expected a number or a range"),
        (["--reward", "1:0"], "got '1:0'; expected a number or a range"),
        (["--reward", "nan"], "got 'nan'; expected a number or a range"),
        (["--reward", ":"], "got ':'; expected a number or a range"),
        (["--limit", "0"], "got '0'; expected a whole number of at least 1"),
        (["--best", "--worst"], "not allowed with argument --best"),
        (["--statu", "pass"], "unrecognized arguments: --statu"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(run, capsys, flags, said):
    with pytest.raises(SystemExit) as stopped:
        main(["rollouts", str(run), *flags])
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_folder_without_records_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for asked, said in ((str(tmp_path), "holds no rollouts.jsonl"), ("last", "rollouts last found no run")):
        with pytest.raises(SystemExit):
            main(["rollouts", asked])
        assert said in " ".join(capsys.readouterr().err.split())
    (tmp_path / "rollouts.jsonl").write_text("no json\n")
    with pytest.raises(SystemExit):
        main(["rollouts", str(tmp_path)])
    assert "line 1, is no JSON" in " ".join(capsys.readouterr().err.split())


def test_where_nothing_matches_it_says_what_there_is(run, capsys):
    assert main(["rollouts", str(run), "--iteration", "9"]) == 1
    out = capsys.readouterr().out
    assert "4 completions of iterations 1 to 3, rewards 0 to 1, statuses pass, fail, invalid" in out


def test_without_a_terminal_the_output_is_plain(run):
    command = [sys.executable, "scripts/rollouts.py", str(run), "--limit", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == (
        "iteration 1  t/train/1  pass (exact)  reward 1  advantage +0.50  answer 4 (expected 4)\n"
        "2 + 2?\nso 4<eos>\n\n"
        f"1 of 4 matching completions in {run / 'rollouts.jsonl'}.\n"
    )


def test_the_same_completions_are_written_as_a_page(run, tmp_path, capsys):
    assert main(["rollouts", str(run), "--iteration", "2", "--html", str(tmp_path / "map.html")]) == 0
    assert f"The credit map is in {tmp_path / 'map.html'}." in capsys.readouterr().out.replace("\n", "")
    page = (tmp_path / "map.html").read_text()
    assert "iteration 2, t/train/1: fail" in page
    assert "iteration 1" not in page


def test_tokens_are_tinted_by_their_credit():
    text = rendered(RECORDS[0], 1.0)
    tinted = {text.plain[span.start : span.end]: str(span.style) for span in text.spans[-4:]}
    assert tinted["4"] == "black on rgb(214,96,77)"  # the largest: red
    assert tinted["so"] == "black on rgb(157,197,221)"  # half way to blue
    assert tinted[" "] == "black on rgb(247,247,247)"


def test_text_of_the_model_neither_steers_the_terminal_nor_is_read_as_markup():
    hostile = record(1, "p", "fail", 0.0, "\x1b[2J[red]a[/red]\nb", token_advantages=None)
    console = Console(force_terminal=True, width=200, highlight=False)
    with console.capture() as captured:
        console.print(rendered(hostile, 0.0))
    assert "\\x1b[2J[red]a[/red]\nb" in captured.get()
