"""The audit shows what lies near a verifier's border, and says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks.rollout_log import records
from rlsd_pl.commands.audit import Judged, audit, border, chosen
from rlsd_pl.types import Completion, Credit, Problem, Rollout, Status, Verdict
from rlsd_pl.verifiers import MathVerifier
from rlsd_pl.verifiers.extraction import HashLine

REPOSITORY = Path(__file__).parents[1]
DATA = REPOSITORY / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the public data files are not beside the repository")


def judged(completion: str, reference: str, status: str, detail: str = "", answer: str | None = None) -> Judged:
    return Judged(completion, reference, Verdict(0.0, Status(status), detail, answer=answer), "p")


@pytest.mark.parametrize(
    ("case", "reasons"),
    [
        (judged(r"\boxed{5}", "5", "pass", "same_text", "5"), []),
        (judged(r"\boxed{5 }", "5", "pass", "same_text", "5 "), []),
        (judged(r"\boxed{5.0}", "5", "pass", "exact", "5.0"), ["passed in another form"]),
        (judged(r"\boxed{5.0}", "5", "pass", "exact"), ["passed in another form"]),
        (judged(r"\boxed{5}", "5", "pass", "same_text"), []),
        (judged("def f(): ...", "", "pass", "passed", "def f(): ..."), []),
        (judged(r"\boxed{6}", "5", "fail", "unequal", "6"), []),
        (judged(r"so \boxed{10/2}", "5", "fail", "unevaluated", "10/2"), ["failed, math-verify accepts"]),
        (judged(r"\boxed{x \ge 5!}", "5", "fail", "unequal", r"x \ge 5!"), ["failed, the reference is in the answer"]),
        (judged("so the answer is 5.", "5", "invalid", "no_answer"), ["invalid, an answer in sight"]),
        (judged("I think so, five", "5", "invalid", "no_answer"), []),
        (judged(r"\boxed{9^{9^9}}", "5", "limit", "power_too_large"), ["limit"]),
        (judged("x", "5", "error", "verifier"), ["the verifier failed"]),
    ],
)
def test_reasons(case: Judged, reasons: list[str]) -> None:
    assert list(border(case)) == reasons


def test_reasons_take_turns_and_equal_answers_are_shown_once() -> None:
    many = [("limit", judged(f"{n}", "5", "limit")) for n in range(100)]
    same = [("other", judged(f"{n}", "5", "pass", answer="5.0")) for n in range(10)]
    few = [("rare", judged("x", "5", "fail"))]
    shown = chosen([*many, *same, *few], 10)
    assert [reason for reason, _ in shown] == ["limit"] * 8 + ["other", "rare"]


def test_a_run_is_shown_with_its_own_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"problem": "gsm8k/1", "completion": "so [bold]\ud800 \\boxed{5.0}", "reward": 1.0, "status": "pass",
           "detail": "exact", "answer": "5.0", "reference_answer": "5"}  # fmt: skip
    rows = [row, {**row, "answer": "5"}, {**row, "status": "limit", "detail": "power_too_large", "reward": 0.0}]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    audit(str(tmp_path))
    shown = capsys.readouterr().out
    assert "3 completions: 2 pass, 1 limit" in shown
    assert "near the border: 1 passed in another form, 1 limit" in shown
    assert "[bold]" in shown


def test_a_run_records_what_was_extracted_and_what_was_expected() -> None:
    problem = Problem("gsm8k/1", [{"role": "user", "content": "2 + 3?"}], answer="5")
    verdict = Verdict(1.0, Status.PASS, "exact", answer="5.0")
    rollout = Rollout(problem, Completion((7,), (0.0,), r"\boxed{5.0}"), verdict)
    learnt = torch.ones(1, 1, dtype=torch.bool)
    batch = SimpleNamespace(advantages=torch.zeros(1), rewards=torch.ones(1), loss_mask=learnt, token_advantages=None)
    rollouts: Any = SimpleNamespace(groups=[[rollout]], rollouts=[rollout], batch=batch, credit=Credit(None))
    (record,) = records(rollouts, 1, SimpleNamespace(convert_ids_to_tokens=lambda ids: ["x" for _ in ids]))
    assert (record["answer"], record["reference_answer"]) == ("5.0", "5")


@needs_data
def test_real_solutions_are_judged_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """GSM8K's solutions end in ``#### answer``; every third gets another form, every third none."""
    source = tmp_path / "rows.jsonl"
    with source.open("w") as file:
        for number, line in enumerate((DATA / "gsm8k_test_part.jsonl").read_text().splitlines()[:30]):
            solution, _, answer = json.loads(line)["answer"].partition("#### ")
            end = (f"#### {answer}", f"#### {answer}.0", f"The answer is {answer}")[number % 3]
            file.write(json.dumps({"text": solution + end, "gold": answer}) + "\n")
    audit(str(source), MathVerifier(HashLine()), rows=6, completion_column="text", answer_column="gold")
    shown = capsys.readouterr().out
    assert "30 completions: 20 pass, 10 invalid" in shown
    assert "10 passed in another form" in shown
    assert "10 invalid, an answer in sight" in shown


def test_the_script_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"solution": "x", "answer": "5"}\n')
    script = [sys.executable, str(REPOSITORY / "scripts/audit_verifier.py")]
    for arguments, message in (
        ([str(tmp_path / "nothing")], "expected a run folder"),
        ([str(tmp_path / "rows.jsonl")], "set --completion_column"),
    ):
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert message in done.stderr
