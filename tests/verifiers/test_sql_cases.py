"""The adversarial cases for SQL on the Chinook database, and its own references; both need the shared data folder."""

from __future__ import annotations

import hashlib
import json
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


PAIRS = {
    "SELECT COUNT(*) FROM Track": ("SELECT COUNT(TrackId) FROM Track", "SELECT 3503"),
    "SELECT Name FROM Artist ORDER BY Name": ("SELECT Name FROM Artist ORDER BY 1", "SELECT Name FROM Artist"),
    "SELECT Country, COUNT(*) n FROM Customer GROUP BY Country ORDER BY n DESC": (
        "SELECT Country, COUNT(CustomerId) FROM Customer GROUP BY 1 ORDER BY 2 DESC, 1",
        "SELECT Country, COUNT(Company) FROM Customer GROUP BY 1 ORDER BY 2 DESC, 1",
    ),
    "SELECT DISTINCT BillingCountry FROM Invoice": (
        "SELECT BillingCountry FROM Invoice GROUP BY 1",
        "SELECT BillingCountry FROM Invoice",
    ),
    "SELECT a.Title, r.Name FROM Album a JOIN Artist r USING (ArtistId) ORDER BY r.Name": (
        "SELECT Title, Name FROM Artist JOIN Album USING (ArtistId) ORDER BY Name, Title",
        "SELECT Title, Name FROM Artist JOIN Album USING (ArtistId) ORDER BY Title",
    ),
    "SELECT Name FROM Track WHERE UnitPrice > 0.99": (
        "SELECT Name FROM Track WHERE NOT UnitPrice <= 0.99",
        "SELECT Name FROM Track WHERE UnitPrice = 1.99",
    ),
    "SELECT AVG(Total) FROM Invoice": ("SELECT SUM(Total) / COUNT(*) FROM Invoice", "SELECT 5.651941747572816"),
}


def test_equivalent_queries_pass_and_lucky_ones_fail(chinook: Path) -> None:
    problems = [Problem(query, [], answer=query, metadata={"database": str(chinook)}) for query in PAIRS]
    verifier = SQLVerifier(RawText())
    assert verifier.check_all(problems) == [None] * len(problems)
    equivalent = verifier.verify([pair[0] for pair in PAIRS.values()], problems)
    lucky = verifier.verify([pair[1] for pair in PAIRS.values()], problems)
    assert [verdict.reward for verdict in equivalent] == [1.0] * len(PAIRS), equivalent
    assert [verdict.reward for verdict in lucky] == [0.0] * len(PAIRS), lucky
