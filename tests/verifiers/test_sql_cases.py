"""The adversarial cases for SQL on the Chinook database, and its own references; both need the shared data folder."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from rlsd_pl.types import Problem
from rlsd_pl.verifiers.code.blocks import RawText
from rlsd_pl.verifiers.sandbox import Level, detect
from rlsd_pl.verifiers.sql.verifier import SQLVerifier

pytestmark = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

ROW_FLOOD = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
EMPTY = "SELECT 1 WHERE 0"


def reference_of(task: str) -> str:
    """The cases write a reference as SQL, or as ``gold <SQL>``, or in words."""
    return EMPTY if "result is empty" in task else task.removeprefix("gold ")


@pytest.fixture
def chinook(data: Path) -> Path:
    return data / "chinook.sqlite"


def test_every_adversarial_case_gets_its_status(data: Path, chinook: Path) -> None:
    rows = map(json.loads, (data / "verifier_cases.jsonl").read_text().splitlines())
    cases = [row for row in rows if row["area"] == "sql"]
    before = hashlib.sha256(chinook.read_bytes()).digest()
    problems = [
        Problem(case["id"], [], answer=reference_of(case["task"]), metadata={"database": str(chinook)})
        for case in cases
    ]
    texts = [ROW_FLOOD if "(...)" in case["input"] else case["input"] for case in cases]
    verifier = SQLVerifier(RawText())
    verdicts = verifier.verify(texts, problems)
    found = {case["id"]: verdict.status.value for case, verdict in zip(cases, verdicts, strict=True)}
    assert found == {case["id"]: case["expected"] for case in cases}
    assert verifier.check(problems[[case["id"] for case in cases].index("S11")]) is not None
    assert hashlib.sha256(chinook.read_bytes()).digest() == before


def test_equivalent_queries_pass_and_lucky_ones_fail(chinook: Path) -> None:
    """``sql_pairs.tsv``: predictions that mean the same as the reference, and ones that only look so here."""
    lines = Path(__file__).with_name("sql_pairs.tsv").read_text().splitlines()[1:]
    rows = [line.replace("\\n", "\n").split("\t") for line in lines]
    assert Counter(expected for expected, _, _ in rows) == {"pass": 48, "fail": 61}
    problems = [Problem(query, [], answer=query, metadata={"database": str(chinook)}) for _, query, _ in rows]
    verifier = SQLVerifier(RawText())
    assert verifier.check_all(problems) == [None] * len(problems)
    verdicts = verifier.verify([predicted for _, _, predicted in rows], problems)
    verifier.close()
    assert [(v.detail, *row) for v, row in zip(verdicts, rows, strict=True) if v.status != row[0]] == []
