"""Format, choice, numeric, function and remote verifiers, and their composites."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers import GatedVerifier, MathVerifier, WeightedVerifier
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.choice import ChoiceVerifier
from rlsd_pl.verifiers.extraction import AnswerLine
from rlsd_pl.verifiers.format import RegexVerifier, ThinkAnswerVerifier
from rlsd_pl.verifiers.function import FunctionVerifier
from rlsd_pl.verifiers.numeric import NumericVerifier
from rlsd_pl.verifiers.remote import RemoteVerifier
from rlsd_pl.verifiers.workers.pool import WorkerLimits

Make = Callable[..., Problem]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("<think>a</think><answer>1</answer>", "pass"),
        (" <think>a\nb</think>\n<answer> 1 </answer>\n", "pass"),
        ("a</think><answer>1</answer>", "pass"),
        ("<think>a</think><answer>1</answer> <answer>2</answer>", "fail"),
        ("<think>a</think><answer></think><answer>1</answer>", "fail"),
        ("</answer><answer></answer> <think></think>", "fail"),
        ("<think></think><answer>1</answer>", "fail"),
        ("<think>a</think><answer> </answer>", "fail"),
        ("<think>a</think>so <answer>1</answer>", "fail"),
        ("<think>a</think><answer>1</answer> bye", "fail"),
        ("<think>a</think>", "fail"),
        ("", "fail"),
    ],
)
def test_think_answer(problem: Make, text: str, status: str) -> None:
    assert ThinkAnswerVerifier().verify([text], [problem()])[0].status == status


def test_a_pattern_matches_all_of_the_text_or_is_killed(problem: Make) -> None:
    verifier = RegexVerifier("(?s)(a+)+b", limits=WorkerLimits(wall_seconds=0.5))
    verdicts = verifier.verify(["aab", "aabc", "a" * 40], [problem()] * 3)
    assert [verdict.status for verdict in verdicts] == ["pass", "fail", "limit"]
    verifier.close()
    with pytest.raises(ValueError, match="expected a regular expression"):
        RegexVerifier("(")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (r"\boxed{A}", "pass"),
        (r"\boxed{(A)}", "pass"),
        (r"\boxed{\text{(A)}}", "pass"),
        (r"\boxed{A.}", "pass"),
        (r"\boxed{B}", "fail"),
        (r"\boxed{a}", "fail"),
        (r"\boxed{E}", "fail"),
        (r"\boxed{A or B}", "fail"),
        (r"\boxed{}", "invalid"),
        (r"\boxed{A} \boxed{B}", "fail"),
        ("This is a hard question, I need a", "invalid"),
        ("A", "invalid"),
    ],
)
def test_choice(problem: Make, text: str, status: str) -> None:
    verifier = ChoiceVerifier(options=4)
    assert verifier.verify([text], [problem("A")])[0].status == status


def test_a_choice_on_its_answer_line(problem: Make) -> None:
    verifier = ChoiceVerifier(rule=AnswerLine())
    assert verifier.verify(["I need a\nAnswer: A"], [problem("A")])[0].status == "pass"
    assert "Answer:" in verifier.instruction


@pytest.mark.parametrize("reference", [None, "", "E", "AB", "a"])
def test_a_choice_reference_must_be_an_option(problem: Make, reference: str | None) -> None:
    assert ChoiceVerifier(options=4).check(problem(reference)) is not None
    assert ChoiceVerifier(options=4).verify([r"\boxed{A}"], [problem(reference)])[0].status == "error"


@pytest.mark.parametrize(
    ("reference", "answer", "status"),
    [
        ("100", "100.1", "pass"),
        ("100", "100.11", "fail"),
        ("6.63 \\times 10^{-34}", "6.63e-34", "pass"),
        ("6.63 \\times 10^{-34}", "9.11e-31", "fail"),
        ("0", "0.0000001", "fail"),
        (r"5\text{ cm}", r"5.001\text{ cm}", "pass"),
        (r"5\text{ cm}", r"5\text{ m}", "fail"),
        ("5", "about five", "invalid"),
        ("5", "1e99999", "limit"),
        ("5", "5" * 400, "limit"),
    ],
)
def test_numeric(problem: Make, reference: str, answer: str, status: str) -> None:
    verifier = NumericVerifier(relative_tolerance=1e-3)
    assert verifier.verify([rf"\boxed{{{answer}}}"], [problem(reference)])[0].status == status


def test_an_absolute_tolerance_serves_a_reference_of_zero(problem: Make) -> None:
    verifier = NumericVerifier(absolute_tolerance=0.01)
    verdicts = verifier.verify([r"\boxed{0.01}", r"\boxed{0.02}"], [problem("0")] * 2)
    assert [verdict.status for verdict in verdicts] == ["pass", "fail"]
    assert verifier.check(problem("x")) is not None


class Fixed(Verifier):
    """Gives the verdicts it was made with, by text."""

    def __init__(self, **by_text: Verdict) -> None:
        self.by_text = by_text
        self.judged: list[str] = []

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        self.judged += texts
        return [self.by_text[text] for text in texts]


PASS, FAIL = Verdict(1.0, Status.PASS), Verdict(0.0, Status.FAIL, "no")
LIMIT, ERROR = Verdict(0.0, Status.LIMIT), Verdict(0.0, Status.ERROR, "broken")


def test_weights_are_normalised_and_an_error_is_no_score(problem: Make) -> None:
    parts = {"form": Fixed(a=PASS, b=FAIL, c=PASS), "answer": Fixed(a=PASS, b=PASS, c=ERROR)}
    a, b, c = WeightedVerifier(parts, {"form": 1.0, "answer": 3.0}).verify(list("abc"), [problem()] * 3)
    assert (a.reward, a.status) == (1.0, "pass")
    assert (b.reward, b.status, b.detail) == (0.75, "fail", "form: no")
    assert b.metrics == {"form": 0.0, "answer": 1.0}
    assert (c.reward, c.status, c.detail) == (0.0, "error", "answer: broken")


@pytest.mark.parametrize("weights", [[0.2, 0.6], [0.1, 0.3], [1.0] * 6, [0.1] * 10])
def test_whatever_the_weights_are_what_passes_in_full_has_reward_1(problem: Make, weights: list[float]) -> None:
    names = [f"part {i}" for i in range(len(weights))]
    parts = {name: Fixed(a=PASS) for name in names}
    (verdict,) = WeightedVerifier(parts, dict(zip(names, weights, strict=True))).verify(["a"], [problem()])
    assert verdict.reward == 1.0


def test_a_composite_names_the_metrics_of_its_parts(problem: Make) -> None:
    class Marked(Fixed):
        metric_names = ("score",)

    verifier = GatedVerifier({"form": Fixed(a=PASS), "marks": Marked(a=replace(PASS, metrics={"score": 0.5}))})
    (verdict,) = verifier.verify(["a"], [problem()])
    assert verifier.metric_names == ("form", "marks", "marks_score")
    assert verdict.metrics == {"form": 1.0, "marks": 1.0, "marks_score": 0.5}


def test_gates_stop_what_they_fail(problem: Make) -> None:
    last = Fixed(a=FAIL, c=PASS)
    verdicts = GatedVerifier({"form": Fixed(a=PASS, b=LIMIT, c=PASS), "answer": last}).verify(
        list("abc"), [problem()] * 3
    )
    assert [verdict.status for verdict in verdicts] == ["fail", "limit", "pass"]
    assert last.judged == ["a", "c"]
    assert verdicts[1].metrics == {"form": 0.0}


def test_composites_pass_on_checks_and_instructions(problem: Make) -> None:
    verifier = GatedVerifier({"form": ThinkAnswerVerifier(), "answer": MathVerifier()})
    assert verifier.check(problem("")) == "answer: the reference answer is empty; set Problem.answer"
    assert "<answer>" in verifier.instruction
    assert "boxed" in verifier.instruction
    verifier.close()


def test_weights_must_name_the_parts() -> None:
    with pytest.raises(ValueError, match="expected a positive one for each"):
        WeightedVerifier({"a": Fixed()}, {"b": 1.0})


@pytest.mark.parametrize(
    ("value", "status", "reward"),
    [(True, "pass", 1.0), (0.25, "fail", 0.25), (0, "fail", 0.0), (2, "error", 0.0), ("yes", "error", 0.0),
     (None, "error", 0.0), (float("nan"), "error", 0.0), (LIMIT, "limit", 0.0)],
)  # fmt: skip
def test_a_user_s_function(problem: Make, value: object, status: str, reward: float) -> None:
    (verdict,) = FunctionVerifier(lambda text, problem: value).verify(["x"], [problem()])
    assert (verdict.status, verdict.reward) == (status, reward)


def test_a_function_that_raises_is_an_error(problem: Make) -> None:
    verdicts = FunctionVerifier("operator.getitem").verify(["x"], [problem()])
    assert verdicts[0].status == "error"
    assert "TypeError" in verdicts[0].detail
    for path in ("no_such_module.f", "json.no_such_name", "json", "string.digits"):
        with pytest.raises(ValueError, match="got function="):
            FunctionVerifier(path)


REPLIES = {
    "good": {"status": "Success", "run_result": {"status": "Finished", "return_code": 0}},
    "bad": {"status": "Failed", "run_result": {"status": "Finished", "return_code": 1}},
    "slow": {"status": "Failed", "run_result": {"status": "TimeLimitExceeded", "return_code": None}},
    "broken": {"status": "SandboxError", "run_result": None},
    "strange": {"status": "Success", "run_result": {"status": "Odd"}},
    "list": [],
}


class Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = request["code"].split("\n")[0]
        if name == "hang":
            time.sleep(1.5)
        body = {"text": b"not json", "flood": b"x" * (2 << 20)}.get(name, json.dumps(REPLIES.get(name)).encode())
        self.send_response(500 if name == "500" else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("code", "status"),
    [("good", "pass"), ("bad", "fail"), ("slow", "limit"), ("broken", "error"), ("strange", "error"), ("list", "error"),
     ("text", "error"), ("500", "error"), ("hang", "error"), ("flood", "limit"), ("good\n\ud800", "invalid"),
     ("good\n\0", "invalid")],
)  # fmt: skip
def test_the_remote_verdict(service: str, problem: Make, code: str, status: str) -> None:
    verifier = RemoteVerifier(service, run_seconds=0.3, grace_seconds=0.3)
    verdict = verifier.verify([f"```python\n{code}\n```"], [problem(tests="assert True")])[0]
    assert (verdict.status, verdict.answer) == (status, code)


def test_the_remote_needs_a_service_and_tests(problem: Make) -> None:
    verifier = RemoteVerifier("http://127.0.0.1:9", run_seconds=0.1, grace_seconds=0.1)
    text = "```\ngood\n```"
    assert verifier.verify([text], [problem(tests="assert True")])[0].status == "error"
    assert "there are no tests" in (verifier.check(problem()) or "")
    assert verifier.verify(["no code"], [problem(tests="assert True")])[0].status == "invalid"
    with pytest.raises(ValueError, match="expected http"):
        RemoteVerifier("ftp://host")


def test_composites_check_many_problems_and_name_the_part(problem: Make) -> None:
    verifier = GatedVerifier({"form": ThinkAnswerVerifier(), "letter": ChoiceVerifier(), "number": NumericVerifier()})
    reasons = verifier.check_all([problem("B"), problem("7")])
    assert [str(reason).split(":")[0] for reason in reasons] == ["number", "letter"]
    assert GatedVerifier({"form": ThinkAnswerVerifier()}).check(problem("B")) is None


@pytest.mark.parametrize("name", ["reward", "length", "status_pass"])
def test_a_part_cannot_take_the_name_of_a_rollout_metric(name):
    with pytest.raises(ValueError, match=name):
        WeightedVerifier({name: ChoiceVerifier()}, {name: 1.0})
