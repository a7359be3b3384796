"""Worked solutions by the symbolic solver: right, in steps, and nothing guessed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rlsd_pl.commands.privileged.command import make_privileged
from rlsd_pl.commands.privileged.solver import handle
from rlsd_pl.commands.privileged.solver_source import SolverSource
from rlsd_pl.errors import SetupError
from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers import MathVerifier, NumericVerifier
from rlsd_pl.verifiers.extraction import HashLine
from tests.worlds import LetterVerifier

SOLVED = [
    ("Solve 2*x + 3 = 7 for x", "2", ["Subtract $3$ on both sides: $2 x = 4$.", "Divide both sides by $2$: $x = 2$."]),
    ("Solve the equation 3(x + 1) = 5x - 7.", "5", ["Multiply out: $3 x + 3 = 5 x - 7$."]),
    ("Solve for y: 4 - y = 10", "-6", ["Subtract $4$ on both sides: $- y = 6$."]),
    ("Find x if x/3 = 5/2", "15/2", []),
    ("x^2 - 5x + 6 = 0", "2, 3", ["The discriminant is $(-5)^2 - 4 (1) (6) = 1$."]),
    ("Solve x^2 = 2x + 1 for x.", r"1 - \sqrt{2}, 1 + \sqrt{2}",
     ["Bring all terms to one side: $x^{2} - 2 x - 1 = 0$."]),
    ("Solve the equation $x^{2} = 2x + 3$.", "3, -1", []),
    ("Solve x^2 + 2x + 1 = 0", "-1", []),
    ("Calculate 2*(3 + 4) - 5/2.", "23/2", ["3 + 4 = 7", "2 * 7 = 14", "14 - (5/2) = 23/2"]),
    (r"What is $12 \times 3^{2}$?", "108", ["3^2 = 9", "12 * 9 = 108"]),
    ("Find the value of u in the equation: 66*u + 66 = 1848", "27", []),
    ("State the final answer to the following arithmetic problem: 6 + 9 - 3 =", "12", ["15 - 3 = 12"]),
    ("3 - 10 = ?", "-7", ["3 - 10 = -7"]),
    ("Evaluate 0.1 + 0.2", "3/10", ["(1/10) + (1/5) = 3/10"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer", "lines"), SOLVED, ids=lambda v: str(v)[:20])
def test_steps_and_answer(text, answer, lines):
    found = handle({"text": text})
    assert set(lines) <= set(found["steps"])
    (verdict,) = MathVerifier().verify([rf"\boxed{{{found['answer']}}}"], [Problem("p", [], answer=answer)])
    assert verdict.status is Status.PASS, found


NOT_SOLVED = [
    "Tom has 3 apples and buys 4. How many has he?", "Solve x + y = 3 and x - y = 1 for x and y", "Solve x^3 = 8 for x",
    "Solve x^2 + 1 = 0", "Solve x = x + 1", "Solve 2(x + 1) = 2x + 2", "Solve 1/x = 2", "f(2) = 5", "x2 = 4", "e*x = 3",
    "Solve 2x = 4 for y", "sin(x) = 0", "7", "7/3", "x + 1", "1/0 + 1", "9^9^9", "2^13 + 1", "__import__('os')", "",
    "What is 2 3?", "1 1/2 + 1", "1,000 + 1", "= 4", "1" * 300 + " + 1", "10^12 * 10^12 * 10", "a < 3", "(" * 150 + "1",
    "x < 3 = 4", "0.12345678901234567 + 1", "2**(1+1)", "3 // 2", "5 % 3",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_SOLVED, ids=lambda text: text[:25])
def test_all_else_is_not_solved(text):
    assert handle({"text": text}) == {"steps": None}


def test_the_answer_is_written_by_the_verifiers_rule():
    chat = [[{"role": "user", "content": f"Solve x + 1 = 3\n\n{HashLine.instruction}"}]]
    source = SolverSource(NumericVerifier(rule=HashLine()))
    assert source.propose(chat, 0)[0][0].splitlines()[-1] == "#### 2"
    source.close()
    with pytest.raises(SetupError, match="--source sympy with LetterVerifier"):
        SolverSource(LetterVerifier())


def test_the_command_solves_a_table_and_reports(tmp_path, tiny_model, capsys):
    rows = [("Solve 2*x + 3 = 7 for x", "2"), ("x^2 - 5x + 6 = 0", "2, 3"), ("Calculate 6*7", "42"),
            ("Calculate 6*8", "42"), ("How many legs has a cat?", "4"), ("Solve x + y = 2", "1")]  # fmt: skip
    table, output = tmp_path / "algebra.jsonl", tmp_path / "out.jsonl"
    table.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in rows))
    flags = ["--task", "jsonl", "--task.path", str(table), "--model", str(tiny_model), "--trainer", "cpu"]
    flags += ["--task.val_fraction", "0.4", "--verifier", "math", "--source", "sympy", "--output", str(output)]
    coverage = make_privileged(flags)
    assert (coverage.problems, coverage.covered, coverage.not_solved) == (6, 3, 2)
    assert coverage.statuses == {"pass": 3, "fail": 1}
    assert json.loads(output.with_suffix(".report.json").read_text())["not_solved"] == 2
    assert "not solved" in capsys.readouterr().out
    made = {row["prompt"]: row["reference"] for row in map(json.loads, output.read_text().splitlines())}
    assert made["Calculate 6*7"] == "6 * 7 = 42\n\\boxed{42}"
    assert made["Calculate 6*8"] is None


def test_the_solver_is_light():
    program = (
        "import sys, rlsd_pl.commands.privileged.solver; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
