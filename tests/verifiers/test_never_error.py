"""No text of a model makes a verdict ``error``: that status is masked out of the loss, so a bad sample would escape."""

from __future__ import annotations

import http.server
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hostile import CALLS, DOCUMENTS, HOSTILE_ANSWERS, HOSTILE_TEXTS, MATHEMATICS, PROGRAMS, QUERIES, TEXTS

import rlsd_pl.verifiers
from rlsd_pl.types import Problem, Status
from rlsd_pl.verifiers import (
    ChoiceVerifier,
    CodeVerifier,
    FunctionVerifier,
    GatedVerifier,
    JSONAnswerVerifier,
    JSONSchemaVerifier,
    MathVerifier,
    NumericVerifier,
    ReasoningGymVerifier,
    RegexVerifier,
    RemoteVerifier,
    SQLVerifier,
    ThinkAnswerVerifier,
    ToolCallVerifier,
    WeightedVerifier,
)
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.sandbox import Level, detect
from rlsd_pl.verifiers.workers.pool import WorkerLimits

QUICK = WorkerLimits(wall_seconds=1.0, memory_bytes=1 << 30)
POLICY = [
    line.split("\t")
    for line in (Path(__file__).parent / "math_policy.tsv").read_text().splitlines()
    if line and not line.startswith("#")
]


class Case(NamedTuple):
    """A verifier, a problem whose reference it accepts, and hostile texts of its own kind."""

    make: Callable[[], Verifier]
    answer: str | None = None
    metadata: dict[str, Any] = {}
    texts: tuple[str, ...] | list[str] = ()


SCHEMA = {
    "type": ["object", "array", "number", "string", "null"], "multipleOf": 0.5, "format": "regex", "uniqueItems": True,
}  # fmt: skip
BOXED = [rf"\boxed{{{answer}}}" for answer in MATHEMATICS]
FENCED = [f"```python\n{program}\n```" for program in PROGRAMS]
CASES = {
    "math": Case(lambda: MathVerifier(limits=QUICK), r"(1,\sqrt{2})", {}, BOXED),
    "numeric": Case(NumericVerifier, "5", {}, BOXED),
    "choice": Case(ChoiceVerifier, "A", {}, BOXED),
    "json_schema": Case(lambda: JSONSchemaVerifier(limits=QUICK), None, {"schema": SCHEMA}, DOCUMENTS),
    "json_answer": Case(JSONAnswerVerifier, '{"a": 1}', {}, DOCUMENTS),
    "tool_calls": Case(ToolCallVerifier, "[]", {}, CALLS),
    "regex": Case(lambda: RegexVerifier(r"(?s)(.*a)*b", limits=QUICK), None, {}, ["a" * 50_000]),
    "think_answer": Case(ThinkAnswerVerifier, None, {}, ["<think>" * 5000, "<think>a</think><answer>\ud800</answer>"]),
    "function": Case(lambda: FunctionVerifier(lambda text, problem: "42" in text)),
    "weighted": Case(
        lambda: WeightedVerifier({"a": ThinkAnswerVerifier(), "b": NumericVerifier()}, {"a": 1, "b": 2}), "5", {}, BOXED
    ),
    "gated": Case(lambda: GatedVerifier({"n": NumericVerifier(), "m": MathVerifier(limits=QUICK)}), "5", {}, BOXED),
}  # fmt: skip
ISOLATED = {
    "code": Case(CodeVerifier, None, {"tests": ["assert f(1) == 1"], "entry_point": "f"}, FENCED),
    "sql": Case(SQLVerifier, "SELECT a FROM t", {}, [f"```sql\n{query}\n```" for query in QUERIES]),
}
ELSEWHERE = {"reasoning_gym", "remote"}


def statuses(case: Case, problem: Callable[..., Problem], **metadata: object) -> dict[str, Status]:
    """By text (its beginning), so that a failure names what caused it."""
    verifier, texts = case.make(), [*TEXTS, *HOSTILE_TEXTS, *case.texts]
    example = problem(case.answer, **case.metadata, **metadata)
    assert verifier.check(example) is None
    verdicts = verifier.verify(texts, [example] * len(texts))
    verifier.close()
    return {f"{text[:80]!r} {verdict.detail}": verdict.status for text, verdict in zip(texts, verdicts, strict=True)}


def errors(found: dict[str, Status]) -> list[str]:
    return [text for text, status in found.items() if status is Status.ERROR]


@pytest.mark.parametrize("name", list(CASES))
def test_no_text_makes_a_verdict_error(name: str, problem: Callable[..., Problem]) -> None:
    assert errors(statuses(CASES[name], problem)) == []


@pytest.mark.slow
@pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")
@pytest.mark.parametrize("name", list(ISOLATED))
def test_no_program_makes_a_verdict_error(name: str, problem: Callable[..., Problem], tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"b{n}") for n in range(20)])
    connection.close()
    assert errors(statuses(ISOLATED[name], problem, database=str(path))) == []


@pytest.mark.skipif(detect().level < Level.L2, reason=f"cannot isolate here: {detect().describe()}")
def test_no_answer_to_reasoning_gym_makes_a_verdict_error() -> None:
    pytest.importorskip("reasoning_gym")
    from rlsd_pl.tasks import ReasoningGymTask

    example = ReasoningGymTask("chain_sum").problem("train", 0)
    answers = [*TEXTS, *HOSTILE_ANSWERS[:20]]
    verifier = ReasoningGymVerifier(workers=1)
    verdicts = verifier.verify([f"```\n{answer}\n```" for answer in answers], [example] * len(answers))
    verifier.close()
    assert [a[:80] for a, verdict in zip(answers, verdicts, strict=True) if verdict.status is Status.ERROR] == []


class _Finished(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        reply = {"status": "Success", "run_result": {"status": "Finished", "return_code": 0}}
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def service() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Finished)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_no_text_makes_a_service_fail(service: str, problem: Callable[..., Problem]) -> None:
    case = Case(lambda: RemoteVerifier(service), None, {"tests": "assert True"}, FENCED)
    assert errors(statuses(case, problem)) == []


def test_every_public_verifier_is_held_to_it() -> None:
    named = {"".join(name.split("_")) for name in [*CASES, *ISOLATED, *ELSEWHERE]}
    classes = {name.removesuffix("Verifier").lower() for name in dir(rlsd_pl.verifiers)} - {""}
    assert {"toolcall" if name == "toolcalls" else name for name in named} == classes


def test_no_answer_meets_any_reference_with_an_error(problem: Callable[..., Problem]) -> None:
    """Every pair of kinds: what is read on one side decides what is tried on the other."""
    draw = random.Random(3)
    references = [row[0] for row in POLICY]
    answers = [row[1] for row in POLICY] + MATHEMATICS
    pairs = [(draw.choice(references), draw.choice(answers)) for _ in range(600)]
    verifier = MathVerifier(limits=WorkerLimits(wall_seconds=3.0))
    texts = [rf"\boxed{{{answer}}}" for _, answer in pairs]
    verdicts = verifier.verify(texts, [problem(reference) for reference, _ in pairs])
    verifier.close()
    assert [p for p, verdict in zip(pairs, verdicts, strict=True) if verdict.status is Status.ERROR] == []


def test_towers_cost_nothing_and_honest_answers_beside_them_are_judged(problem: Callable[..., Problem]) -> None:
    bases = ["99", "(9+9)", "7.5", r"\pi", "x", "(x+1)"]
    towers = [rf"\sin((({base}^{{{n}}})^{{99}})^{{99}})" for base in bases for n in range(80, 99)]
    towers += [rf"\cosh({base}^{{{base}^{{{n}}}}})" for base in ("9", "e", "12") for n in range(20, 40)]
    honest = [rf"\sqrt{{{9 * n}}}+\pi" for n in range(2, 12)]
    texts = [rf"\boxed{{{answer}}}" for answer in [*towers, *honest]]
    references = [r"\sqrt{2}"] * len(towers) + [rf"3\sqrt{{{n}}}+\pi" for n in range(2, 12)]
    verifier = MathVerifier()
    begin = time.process_time()
    verdicts = verifier.verify(texts, [problem(reference) for reference in references])
    verifier.close()
    assert time.process_time() - begin < 5
    assert {verdict.status for verdict in verdicts[: len(towers)]} <= {Status.LIMIT, Status.FAIL}
    assert {verdict.status for verdict in verdicts[len(towers) :]} == {Status.PASS}
