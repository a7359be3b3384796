"""The rows of scripts/bench_verifiers.py measure right answers."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from rlsd_pl.types import Verdict
from rlsd_pl.verifiers.sandbox import SandboxUnavailableError

BENCH = runpy.run_path(str(Path(__file__).parents[2] / "scripts/bench_verifiers.py"))


@pytest.mark.parametrize("name", BENCH["CASES"])
def test_every_row_judges_right_answers(name: str) -> None:
    case = BENCH["CASES"][name]
    try:
        judge = case.make()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    texts, problems = zip(*(case.item(n) for n in (4, 8)), strict=True)
    verdicts = judge(texts, problems)
    assert all(verdict.reward == 1 if isinstance(verdict, Verdict) else verdict for verdict in verdicts)


def test_code_and_sql_have_rows() -> None:
    assert {"code, function", "code, stdin", "sql", "math, symbolic (math-verify)"} <= BENCH["CASES"].keys()
