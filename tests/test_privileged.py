"""Privileged data: kept only if the verifier passes it, resumable, counted, checked for leaks."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd_pl.commands.privileged.build import Builder, Record
from rlsd_pl.commands.privileged.command import make_privileged
from rlsd_pl.commands.privileged.documents import Documents
from rlsd_pl.commands.privileged.report import stands_in
from rlsd_pl.commands.privileged.rows import numbered_rows
from rlsd_pl.commands.privileged.sources import EndpointError, EndpointSource, EngineSource
from rlsd_pl.engines import ScriptedEngine
from rlsd_pl.errors import SetupError
from rlsd_pl.tasks import TableTask
from rlsd_pl.types import Problem, Sampling
from rlsd_pl.verifiers import MathVerifier
from tests.tables import write_table
from tests.worlds import SumTask

SAMPLING = Sampling(max_tokens=64, completions=3)


def reply(prompt: str, k: int) -> str:
    """Right for even numbers in the second and third sample, the third more long-winded."""
    number = int(re.findall(r"\d+", prompt)[0])
    right = k > 0 and number % 2 == 0
    return f"{'Well. ' * k}\\boxed{{{number + 3 if right else 0}}}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table("jsonl", tmp_path, 12)


class Service(http.server.BaseHTTPRequestHandler):
    """Chat completions by :func:`reply`; the first request of each server is told to come again."""

    refused = 0
    asked: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Service.refused == 0:
            Service.refused = 1
            self.send_error(503)
            return
        Service.asked.append({**body, "key": self.headers["Authorization"], "path": self.path})
        choices = [
            {"message": {"content": reply(body["messages"][-1]["content"], k)}, "finish_reason": "stop"}
            for k in range(body["n"])
        ]
        content = json.dumps({"choices": choices}).encode()
        self.send_response(200 if body["model"] == "known" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def service() -> Iterator[str]:
    Service.refused, Service.asked = 0, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_only_verified_solutions_are_kept_and_of_those_the_shortest(table, tmp_path, policy):
    task = TableTask(str(table), val_fraction=0.3)
    builder = Builder(task, tmp_path / "out.jsonl", "reference")
    source = EngineSource(policy, ScriptedEngine(reply), SAMPLING)
    builder.solve(list(builder.missing()), source, MathVerifier(), seed=0)
    made = rows(builder.output)
    assert sorted(row["prompt"] for row in made) == sorted(row["prompt"] for row in rows(table))
    for row in made:
        number = int(row["answer"]) - 3
        assert row["reference"] == (f"Well. \\boxed{{{number + 3}}}" if number % 2 == 0 else None)
    coverage = builder.coverage()
    assert (coverage.problems, coverage.covered, coverage.proposals) == (12, 6, 36)
    assert coverage.statuses == {"pass": 12, "fail": 24}


def test_a_stopped_build_goes_on_and_the_result_is_a_table(table, tmp_path, policy):
    task = TableTask(str(table), val_fraction=0.3)
    builder = Builder(task, tmp_path / "out.jsonl", "reference")
    source = EngineSource(policy, ScriptedEngine(reply), SAMPLING)
    first = list(builder.missing())[:5]
    builder.solve(first, source, MathVerifier(), seed=0)
    with builder.output.open("a") as file:
        file.write('{"prompt": "cut o')
    rest = list(builder.missing())
    assert len(rest) == 7
    builder.solve(rest, source, MathVerifier(), seed=0)
    ids = [row["privileged_record"]["id"] for row in rows(builder.output)]
    assert len(ids) == len(set(ids)) == 12
    again = TableTask(str(builder.output), val_fraction=0.3)
    texts = {
        p.prompt: p.privileged.get("reference") for p in (again.problem("train", i) for i in range(again.size("train")))
    }
    assert any(texts.values())


def test_the_command_asks_a_service_and_reports(table, tmp_path, service, tiny_model, capsys, monkeypatch):
    monkeypatch.setenv("SERVICE_KEY", "abc")
    output = tmp_path / "out.jsonl"
    flags = ["--task", "jsonl", "--task.path", str(table), "--model", str(tiny_model), "--trainer", "cpu"]
    flags += ["--task.val_fraction", "0.3", "--data.group_size", "3", "--output", str(output)]
    flags += ["--endpoint", service, "--endpoint_model", "known", "--key_variable", "SERVICE_KEY", "--batch", "4"]
    assert make_privileged([*flags, "--limit", "5"]).problems == 5
    coverage = make_privileged(flags)
    assert (coverage.problems, coverage.covered) == (12, 6)
    assert len(Service.asked) == 12
    asked = Service.asked[0]
    assert (asked["path"], asked["key"], asked["n"]) == ("/v1/chat/completions", "Bearer abc", 3)
    assert "boxed" in asked["messages"][-1]["content"]
    report = json.loads(output.with_suffix(".report.json").read_text())
    assert report["statuses"] == {"pass": 12, "fail": 24}
    assert "--context.field reference" in capsys.readouterr().out


def test_a_service_that_refuses_is_told(service):
    Service.refused = 1
    source = EndpointSource(service, "unknown", SAMPLING, pause=0.01)
    with pytest.raises(EndpointError, match="404"):
        source.propose([[{"role": "user", "content": "What is 4 + 3?"}]], seed=0)
    with pytest.raises(EndpointError, match="chat/completions"):
        EndpointSource("http://127.0.0.1:1", "known", SAMPLING, pause=0.01).propose([[]], seed=0)


@pytest.mark.parametrize(
    ("prompt", "answer", "leaks"),
    [
        ("The answer is 42.", "42", True),
        ("What is 40 + 2?", "42", False),
        ("What is 142 + 421?", "42", False),
        ("Round 42.5 down.", "42", False),
        ("Say Paris", "paris", True),
        ("Anything", None, False),
    ],
)
def test_the_leak_check_looks_for_whole_words(prompt, answer, leaks):
    assert stands_in(Problem("x", [{"role": "user", "content": prompt}], answer)) is leaks


def test_documents_are_attached_by_a_retrieval_column(tmp_path):
    table = tmp_path / "rows.jsonl"
    named = [["a", "b"], ["b"], [], ["nowhere"]] * 3
    rows = [{"prompt": f"q{n}", "answer": "1", "documents": ids} for n, ids in enumerate(named)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = tmp_path / "documents.jsonl"
    texts.write_text('{"id": "a", "text": "first"}\n{"id": "b", "text": "second"}\n')
    documents = Documents(texts, "documents")
    task = TableTask(str(table), val_fraction=0.4)
    found = {p.prompt: documents.attached(row) for p, row in Builder(task, tmp_path / "o.jsonl", "r").missing()}
    assert (found["q0"], found["q1"], found["q2"], found["q3"]) == ("first\n\nsecond", "second", None, None)
    assert documents.attached({"documents": "a"}) == "first"
    with pytest.raises(SetupError, match="no column 'documents'"):
        documents.attached({"prompt": "q"})


def loaded(path: Path) -> TableTask:
    return TableTask(str(path), prompt_column="question", val_fraction=0.3)


def test_the_lab_s_chains_become_a_table(tmp_path, capsys):
    output = tmp_path / "chains.jsonl"
    flags = ["--task", "lab", "--trainer", "cpu", "--data.group_size", "4", "--output", str(output)]
    with pytest.raises(SystemExit):
        make_privileged(flags)
    assert "set --limit" in capsys.readouterr().err
    assert make_privileged([*flags, "--limit", "8", "--batch", "8"]).problems == 8
    coverage = make_privileged([*flags, "--limit", "4"])
    assert (coverage.problems, coverage.proposals) == (12, coverage.statuses.total())
    assert coverage.covered > 0
    made = rows(output)
    assert len({row["question"] for row in made}) == 12
    assert all(set(row) == {"question", "answer", "solution", "privileged_record"} for row in made)
    assert all(row["solution"] is None or row["solution"].endswith("#" + row["answer"]) for row in made)
    task = loaded(output)
    problem = task.problem("train", 0)
    assert (problem.prompt, problem.answer) in {(row["question"], row["answer"]) for row in made}
    assert "--task jsonl --task.prompt_column question" in " ".join(capsys.readouterr().out.split())


def test_reasoning_gym_becomes_a_table(tmp_path):
    pytest.importorskip("reasoning_gym")
    output = tmp_path / "sums.jsonl"
    flags = ["--task", "reasoning_gym", "--task.dataset", "chain_sum", "--task.config", '{"max_terms": 3}']
    flags += ["--verifier", "math", "--source", "sympy", "--trainer", "cpu", "--output", str(output), "--limit", "6"]
    coverage = make_privileged(flags)
    assert (coverage.problems, coverage.covered, coverage.statuses) == (6, 6, {"pass": 6})
    problem = loaded(output).problem("train", 0)
    assert problem.privileged["solution"].endswith(f"\\boxed{{{problem.answer}}}")


def test_an_endless_task_with_few_questions_ends(monkeypatch):
    class Coin(SumTask):
        def problem(self, split, index):
            return super().problem(split, index % 2)

        def size(self, split):
            return None

    monkeypatch.setattr("rlsd_pl.commands.privileged.rows.GIVE_UP", 20)
    assert [row for _, row in numbered_rows(Coin())] == [
        {"question": "3 plus 5?", "answer": "8"}, {"question": "4 plus 5?", "answer": "9"}
    ]  # fmt: skip


def test_a_column_that_exists_is_refused(table, tmp_path):
    with pytest.raises(SetupError, match="set --column"):
        Builder(TableTask(str(table), val_fraction=0.3), tmp_path / "out.jsonl", "answer")


def test_values_are_written_as_the_table_has_them(tmp_path):
    """``json.dumps`` writes 1.5, Infinity, and \\u escapes; a line separator within a text ends no row."""
    rest = '"a": 1.50, "big": 123456789012345678901234567890, "far": 1e999, "b": [true, null, 2.0]'
    sources = [f'{{"q": "naïve\u2028{n}?", {rest}}}' for n in range(9)]
    table, output = tmp_path / "table.jsonl", tmp_path / "out.jsonl"
    table.write_text("\n".join(sources) + "\n", encoding="utf-8")
    builder = Builder(TableTask(str(table), prompt_column="q", answer_column="a", val_fraction=0.5), output, "solution")
    for problem, row in builder.missing():
        builder.append(row, "so \ud800", Record(problem.id))
    lines = output.read_text(encoding="utf-8").split("\n")[:-1]
    ending = ', "solution": "so ?", "privileged_record": {"id": '
    assert sorted(line.partition(ending)[0] + "}" for line in lines) == sources
    assert len(builder.done()) == 9
    again = TableTask(str(output), prompt_column="q", answer_column="a", val_fraction=0.5)
    assert again.problem("train", 0).answer == "1.50"
