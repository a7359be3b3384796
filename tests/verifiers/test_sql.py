"""The SQL verifier on a small shop database."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.code.blocks import LanguageBlock, RawText
from rlsd_pl.verifiers.sandbox import Level, Sandbox, detect, failure
from rlsd_pl.verifiers.sql.compare import Columns
from rlsd_pl.verifiers.sql.reference import QueryLimits, RowOrder
from rlsd_pl.verifiers.sql.verifier import SQLVerifier

pytestmark = pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")

SCHEMA = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customer(id),
                       total REAL, day TEXT);
"""
TOTALS = "SELECT name, SUM(total) AS t FROM customer c JOIN purchase p ON p.customer_id = c.id GROUP BY c.id"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        cities = ["Bern", "Oslo", "Rome", None]
        connection.executemany(
            "INSERT INTO customer VALUES (?, ?, ?)", [(i, f"n{i}", cities[i % 4]) for i in range(1, 21)]
        )
        purchases = [(i, 1 + i % 20, i * 1.25 + 0.01 * (i % 7), f"2024-0{1 + i % 9}-11") for i in range(1, 81)]
        connection.executemany("INSERT INTO purchase VALUES (?, ?, ?, ?)", purchases)
        connection.commit()
    return path


@pytest.fixture(scope="module")
def verifier() -> SQLVerifier:
    return SQLVerifier(RawText(), query_limits=QueryLimits(seconds=0.5, max_rows=2000, max_bytes=100_000))


def problem(database: Path, reference: str, **metadata: Any) -> Problem:
    return Problem("p", [], answer=reference, metadata={"database": str(database), **metadata})


def judge(verifier: SQLVerifier, database: Path, reference: str, predicted: str) -> Verdict:
    return verifier.verify([predicted], [problem(database, reference)])[0]


@pytest.mark.parametrize(
    ("reference", "predicted", "passes"),
    [
        ("SELECT name FROM customer", "SELECT name FROM customer ORDER BY name DESC", True),
        ("SELECT name FROM customer ORDER BY id", "SELECT name FROM customer ORDER BY id", True),
        ("SELECT name FROM customer ORDER BY id", "SELECT name FROM customer ORDER BY id DESC", False),
        # ties in the key may change places, wherever the key stands
        (
            "SELECT city, name FROM customer ORDER BY city",
            "SELECT city, name FROM customer ORDER BY city, name DESC",
            True,
        ),
        ("SELECT name FROM customer ORDER BY city", "SELECT name FROM customer ORDER BY city, id DESC", True),
        ("SELECT name FROM customer ORDER BY city", "SELECT name FROM customer ORDER BY city DESC", False),
        (f"{TOTALS} ORDER BY t DESC", f"{TOTALS} ORDER BY 2 DESC", True),
        (f"{TOTALS} ORDER BY SUM(total) DESC", TOTALS, False),
        (
            "SELECT total FROM purchase ORDER BY total DESC LIMIT 3",
            "SELECT total FROM purchase ORDER BY 1 DESC LIMIT 3",
            True,
        ),
        ("SELECT total FROM purchase ORDER BY total DESC LIMIT 3", "SELECT MAX(total) FROM purchase", False),
        ("SELECT COUNT(*) FROM purchase", "SELECT COUNT(id) FROM purchase", True),
        ("SELECT COUNT(*) FROM purchase", "SELECT 80", False),
        ("SELECT COUNT(*) FROM customer", "SELECT COUNT(city) FROM customer", False),
        ("SELECT name FROM customer WHERE city = 'Oslo'", "SELECT name FROM customer WHERE id % 4 = 1", False),
        ("SELECT DISTINCT day FROM purchase", "SELECT day FROM purchase", False),
        ("SELECT name, city FROM customer", "SELECT city, name FROM customer", False),
        ("SELECT name FROM customer", "SELECT name, city FROM customer", False),
        ("SELECT id FROM customer", "SELECT id * 1.0 FROM customer", True),
        ("SELECT id FROM customer", "SELECT CAST(id AS TEXT) FROM customer", False),
        ("SELECT 0.3", "SELECT 0.1 + 0.2", True),
        ("SELECT NULL", "SELECT 0", False),
        ("SELECT NULL", "SELECT ''", False),
        ("SELECT x'61'", "SELECT 'a'", False),
        ("SELECT 1 UNION SELECT 2 ORDER BY 1", "VALUES (1), (2);", True),
        (
            "WITH c AS (SELECT * FROM customer ORDER BY id) SELECT COUNT(*) FROM c",
            "SELECT COUNT(*) FROM customer -- x",
            True,
        ),
    ],
)
def test_comparison(verifier: SQLVerifier, database: Path, reference: str, predicted: str, passes: bool) -> None:
    verdict = judge(verifier, database, reference, predicted)
    assert verdict.status is (Status.PASS if passes else Status.FAIL), verdict


def test_verdict_says_how_it_was_judged(verifier: SQLVerifier, database: Path) -> None:
    verdict = judge(verifier, database, "SELECT COUNT(*) FROM purchase", "SELECT COUNT(1) FROM purchase")
    assert verdict.metrics == {"sandbox_level": float(detect().level), "databases": 3.0}
    assert set(verdict.metrics) == set(verifier.metric_names)
    constant = judge(verifier, database, "SELECT COUNT(*) FROM purchase", "SELECT 80")
    assert constant.detail.startswith("wrong_on_perturbed")


EXHAUSTING = [
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
    "SELECT COUNT(*) FROM purchase a, purchase b, purchase c, purchase d, purchase e",
    "SELECT a.id FROM purchase a, purchase b, purchase c, purchase d ORDER BY a.total * b.total * c.total",
    f"SELECT replace(replace(replace('{'a' * 999}', 'a', '{'b' * 999}'), 'b', '{'c' * 999}'), 'c', 'dddd')",
    "WITH RECURSIVE c(x) AS (SELECT '0123456789' UNION ALL SELECT x || x FROM c LIMIT 40) SELECT x FROM c",
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("```sql\nSELECT COUNT(*) FROM purchase;\n```", "SELECT COUNT(*) FROM purchase;"),
        ("```sql\nSELECT 1\n```", "SELECT 1"),
        ("```sql\nDROP TABLE purchase\n```", "DROP TABLE purchase"),
        ("```sql\n" + EXHAUSTING[0] + "\n```", EXHAUSTING[0]),
        ("```sql\n" + "SELECT 1 " * 5000 + "\n```", ("SELECT 1 " * 5000).strip()),
        ("SELECT COUNT(*) FROM purchase", None),
    ],
    ids=["pass", "fail", "kind", "limit", "invalid", "none"],
)
def test_the_answer_is_the_query(database: Path, text: str, answer: str | None) -> None:
    verifier = SQLVerifier(query_limits=QueryLimits(seconds=0.3))
    (verdict,) = verifier.verify([text], [problem(database, "SELECT COUNT(*) FROM purchase")])
    verifier.close()
    assert verdict.answer == answer


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (";", "pass"), (";;", "pass"), (" ; ; ;\n", "pass"), (";--", "pass"), ("; /* ; */ ;", "pass"),
        ("; -- SELECT 2\n;", "pass"), ("; SELECT 2", "fail"), (";; SELECT 2;", "fail"), ("; ;x", "fail"),
    ],
)  # fmt: skip
def test_empty_statements_may_follow(verifier: SQLVerifier, database: Path, ending: str, status: str) -> None:
    count = "SELECT COUNT(*) FROM purchase"
    assert judge(verifier, database, count, count + ending).status == status
    assert (verifier.check(problem(database, count + ending)) is None) is (status == "pass")


def test_an_order_that_nothing_asks_for_does_not_count(verifier: SQLVerifier, database: Path) -> None:
    """Each prediction gives the order of the reference, here and in SQLite of today."""
    lucky = {
        "SELECT name FROM customer ORDER BY id": ("SELECT name FROM customer", "wrong_in_reverse"),
        "SELECT city, COUNT(*) FROM customer GROUP BY city ORDER BY city": (
            "SELECT city, COUNT(*) FROM customer GROUP BY city", "order_missing",
        ),
        "SELECT DISTINCT day FROM purchase ORDER BY day": (
            "SELECT day FROM purchase UNION SELECT day FROM purchase", "order_missing",
        ),
        "SELECT id FROM purchase ORDER BY id DESC": (
            "SELECT id FROM purchase ORDER BY total DESC", "wrong_on_perturbed",
        ),
    }  # fmt: skip
    for reference, (predicted, code) in lucky.items():
        verdict = judge(verifier, database, reference, predicted)
        assert (verdict.status, verdict.detail.split(":")[0]) == (Status.FAIL, code)
    one_row = "SELECT name FROM customer WHERE id = (SELECT MAX(id) FROM customer)"
    assert judge(verifier, database, "SELECT name FROM customer ORDER BY id DESC LIMIT 1", one_row).reward == 1
    inner = "WITH c AS (SELECT name, id FROM customer ORDER BY id) SELECT name FROM c"
    assert judge(verifier, database, "SELECT name FROM customer ORDER BY id", inner).reward == 1


@pytest.mark.parametrize(
    ("reference", "predicted", "reward"),
    [
        ("SELECT id FROM customer", "SELECT id FROM customer", 1.0),
        ("SELECT name FROM customer ORDER BY id", "SELECT name FROM customer ORDER BY id DESC", 0.9),
        ("SELECT city FROM customer GROUP BY 1 ORDER BY 1", "SELECT city FROM customer GROUP BY 1", 0.9),
        # precision 1 and recall 1/2; precision 2/3 and recall 1
        ("SELECT 1 UNION ALL SELECT 2", "SELECT 1", 2 / 3),
        ("SELECT 1 UNION ALL SELECT 1", "SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1", 4 / 5),
        ("SELECT COUNT(*) FROM customer", "SELECT 20", 0.0),
        ("SELECT id FROM customer", "SELECT id, name FROM customer", 0.0),
        ("SELECT id FROM customer", "SELECT nothing FROM customer", 0.0),
        ("SELECT id FROM customer", "SELECT 1 WHERE 0", 0.0),
    ],
)  # fmt: skip
def test_partial_credit_is_the_f1_of_rows(database: Path, reference: str, predicted: str, reward: float) -> None:
    verifier = SQLVerifier(RawText(), partial_credit=True)
    verdict = judge(verifier, database, reference, predicted)
    verifier.close()
    assert verdict.reward == pytest.approx(reward)
    assert (verdict.status is Status.PASS) is (reward == 1)


def test_partial_credit_is_the_least_of_all_databases(database: Path) -> None:
    """Nineteen of the twenty rows are right here, and fewer on the copies, whose keys are others."""
    verifier = SQLVerifier(RawText(), partial_credit=True)
    constant = "VALUES " + ", ".join(f"({i})" for i in range(1, 20))
    reward = judge(verifier, database, "SELECT id FROM customer", constant).reward
    verifier.close()
    assert 0 < reward < 2 * 19 / (19 + 20) - 0.05


def test_a_constant_fails_where_shuffled_values_give_the_same_result(verifier: SQLVerifier, tmp_path: Path) -> None:
    path = tmp_path / "prices.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, price REAL)")
        database.executemany("INSERT INTO item (price) VALUES (?)", [(1.5,), (2.5,), (2.5,), (0.5,)])
        database.commit()
    for reference, constant in (("MAX(price)", "2.5"), ("MIN(price)", "0.5"), ("COUNT(DISTINCT price)", "3")):
        asked = f"SELECT {reference} FROM item"
        assert judge(verifier, path, asked, f"SELECT {constant}").status is Status.FAIL, reference
        assert judge(verifier, path, asked, asked).status is Status.PASS


ATTACKS = {
    "SELECT 1; DROP TABLE customer": "statement_count",
    "DELETE FROM purchase": "statement_kind",
    "WITH a AS (SELECT 1) DELETE FROM purchase": "not_authorized",
    "INSERT INTO customer VALUES (99, 'x', 'y') RETURNING id": "statement_kind",
    "ATTACH '/tmp/rlsd-evil.db' AS e": "statement_kind",
    "VACUUM INTO '/tmp/rlsd-evil.db'": "statement_kind",
    "PRAGMA writable_schema = ON": "statement_kind",
    "EXPLAIN SELECT 1": "statement_kind",
    "BEGIN": "statement_kind",
    "SELECT load_extension('/tmp/x.so')": "not_authorized",
    "SELECT readfile('/etc/passwd')": "sql_error",
    "SELECT writefile('/tmp/rlsd-evil.db', 'x')": "sql_error",
    "SELECT * FROM pragma_database_list": "not_authorized",
    "SELECT sql FROM sqlite_master": "not_authorized",
    "SELECT name FROM sqlite_schema": "not_authorized",
    "SELECT sqlite_version()": "not_authorized",
    "SELECT abs(random()) % 10": "not_authorized",
    "SELECT hex(zeroblob(900000000))": "not_authorized",
    "SELECT printf('%.*c', 1000000000, 'x')": "not_authorized",
    "SELECT CURRENT_TIMESTAMP": "not_authorized",
    "SELECT date('now')": "not_deterministic",
    "SELECT strftime('%Y')": "not_deterministic",
    "SELECT datetime ( \"Now \" , '+1 day')": "not_deterministic",
    "SELECT julianday()": "not_deterministic",
    "SELEC 1": "statement_kind",
    "SELECT * FROM nowhere": "sql_error",
    "SELECT ?1": "sql_error",
    "SELECT " + "(" * 500 + "1" + ")" * 500: "sql_error",
}


def test_attacks_fail_and_leave_no_trace(verifier: SQLVerifier, database: Path) -> None:
    before = hashlib.sha256(database.read_bytes()).digest(), sorted(database.parent.iterdir())
    verdicts = verifier.verify(list(ATTACKS), [problem(database, TOTALS)] * len(ATTACKS))
    assert {v.status for v in verdicts} == {Status.FAIL}
    assert dict(zip(ATTACKS, (v.detail.split(":")[0] for v in verdicts), strict=True)) == ATTACKS
    assert (hashlib.sha256(database.read_bytes()).digest(), sorted(database.parent.iterdir())) == before
    assert not Path("/tmp/rlsd-evil.db").exists()


def test_exhausting_queries_are_limits(verifier: SQLVerifier, database: Path) -> None:
    verdicts = verifier.verify(EXHAUSTING, [problem(database, TOTALS)] * len(EXHAUSTING))
    assert [v.status for v in verdicts] == [Status.LIMIT] * len(EXHAUSTING), verdicts


HOSTILE = [
    "SELECT " + "9" * 400,
    "SELECT 9e999, -9e999, 1e-999",
    "SELECT -9223372036854775808 / -1",
    "SELECT abs(-9223372036854775808)",
    "SELECT '" + "\u20ac" * 9000 + "'",
    'SELECT 1 AS "' + "\U0001f600" * 4000 + '"',
    "SELECT " + "-" * 3000 + "1",
    "SELECT " + "+".join(["1"] * 9000),
    "SELECT " + "(SELECT " * 200 + "1" + ")" * 200,
    "SELECT CAST(x'ff80' AS TEXT)",
    "SELECT x'" + "ff" * 9000 + "'",
    "SELECT " + ",".join(["1"] * 3000),
    "SELECT 1 " + "UNION SELECT 1 " * 500,
    "SELECT * FROM customer WHERE id IN (" + ",".join("1" * 4000) + ")",
    "SELECT name FROM customer ORDER BY " + "1," * 3000 + "1",
    "SELECT :a, ?, @b, $c",
    "SELECT 1 LIMIT -1 OFFSET -1",
    "SELECT sum(9223372036854775807) FROM customer",
    "SELECT ''''",
    'SELECT "',
    "SELECT [",
    "SELECT 1 /*",
    "SELECT a.b.c.d.e",
    "SELECT likelihood(1, 2)",
    "SELECT like('%', 'a', 'bb')",
    "SELECT char(55296)",
    "SELECT group_concat(char(0)) FROM customer",
    "SELECT json('{' || hex(1))",
    "VALUES (1), (1, 2)",
    "WITH",
    "WITH a AS (SELECT * FROM a) SELECT * FROM a",
    "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a",
    "SELECT replace(hex(hex(hex(c.name))), '', 'x') FROM customer c, purchase, purchase p",
    "\ufeffSELECT 1",
    "SELECT\u00a01",
    "SELECT 1\x1a",
]


def test_no_query_makes_an_error(verifier: SQLVerifier, database: Path) -> None:
    verdicts = verifier.verify(HOSTILE, [problem(database, TOTALS)] * len(HOSTILE))
    assert [(q[:40], v.detail) for q, v in zip(HOSTILE, verdicts, strict=True) if v.status is Status.ERROR] == []
    assert {verdict.reward for verdict in verdicts} == {0.0}


@pytest.mark.parametrize("query", ["", " ", ";", "-- nothing", "SELECT '\0'", "SELECT '\ud800'", "SELECT 1 " * 5000])
def test_unusable_answers_are_invalid(verifier: SQLVerifier, database: Path, query: str) -> None:
    assert judge(verifier, database, TOTALS, query).status is Status.INVALID


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("SELECT 1 WHERE 0", "no rows"),
        ("SELECT random()", "does not run"),
        ("SELECT date('now')", "clock"),
        ("DELETE FROM customer", "refused"),
        ("SELECT * FROM nowhere", "no such table"),
        ("", "refused"),
        ("SELECT name FROM customer LIMIT 3", "not deterministic"),
        ("SELECT name FROM customer ORDER BY city LIMIT 3", "LIMIT parts rows"),
        ("SELECT DISTINCT city FROM customer ORDER BY id % 3", "cannot be read"),
    ],
)
def test_check_refuses(verifier: SQLVerifier, database: Path, reference: str, reason: str) -> None:
    assert reason in (verifier.check(problem(database, reference)) or "")
    verdict = judge(verifier, database, reference, "SELECT 1")
    assert (verdict.reward, verdict.status) == (0.0, Status.ERROR)


def test_check_names_missing_and_broken_databases(verifier: SQLVerifier, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"not a database" * 100)
    assert "set the path" in (verifier.check(problem(tmp_path / "none.sqlite", "SELECT 1")) or "")
    assert "copy" in (verifier.check(problem(broken, "SELECT 1")) or "")


def test_empty_results_where_the_task_allows_them(verifier: SQLVerifier, database: Path) -> None:
    allowed = problem(database, "SELECT id FROM customer WHERE city = 'Nowhere'", allow_empty=True)
    assert verifier.check(allowed) is None
    assert verifier.verify(["SELECT id FROM customer WHERE city = 'Never'"], [allowed])[0].status is Status.PASS
    assert verifier.verify(["SELECT id FROM customer"], [allowed])[0].status is Status.FAIL


def test_policies_of_order_and_columns(database: Path) -> None:
    lenient = SQLVerifier(RawText(), order=RowOrder.NONE, columns=Columns.ANY_ORDER)
    reference = "SELECT name, city FROM customer ORDER BY id"
    assert judge(lenient, database, reference, "SELECT city, name FROM customer ORDER BY id DESC").status is Status.PASS
    scrambled = "SELECT city, 'n' || (21 - id) FROM customer"
    assert judge(lenient, database, reference, scrambled).status is Status.FAIL


def test_close_deletes_the_copies_and_the_verifier_works_again(database: Path) -> None:
    verifier = SQLVerifier(LanguageBlock("sql"))
    text = "```sql\nSELECT COUNT(*) FROM customer\n```"
    count = problem(database, "SELECT COUNT(*) FROM customer")
    assert verifier.verify([text], [count])[0].status is Status.PASS
    folder = verifier._copies.of(database, 0).parent
    verifier.close()
    assert not folder.exists()
    assert verifier.verify([text], [count])[0].status is Status.PASS
    verifier.close()


@pytest.mark.parametrize("level", [Level.L2, Level.L3])
def test_each_level_judges_alike(database: Path, level: Level) -> None:
    reason = failure(level)
    if reason is not None:
        pytest.skip(f"no {level.name} here: {reason}")
    verifier = SQLVerifier(RawText())
    verifier.sandbox = Sandbox(level, verifier.sandbox.limits)
    assert judge(verifier, database, TOTALS, TOTALS).status is Status.PASS
    assert judge(verifier, database, TOTALS, "SELECT 1").status is Status.FAIL


def test_equal_queries_of_a_batch_run_once(verifier, database, monkeypatch):
    import rlsd_pl.verifiers.sql.verifier as module

    ran: list[int] = []
    run_jobs = module.run_jobs

    def counting(jobs, *rest):
        jobs = list(jobs)
        ran.append(len(jobs))
        return run_jobs(jobs, *rest)

    monkeypatch.setattr(module, "run_jobs", counting)
    right, wrong = "SELECT name FROM customer", "SELECT city FROM customer"
    verdicts = verifier.verify([right, wrong, right, right, wrong], [problem(database, right)] * 5)
    assert ran[-1] == 2
    assert [v.status for v in verdicts] == [Status.PASS, Status.FAIL, Status.PASS, Status.PASS, Status.FAIL]
