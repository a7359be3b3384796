"""reasoning-gym: problems by name, splits that do not meet, and answers that are judged behind walls."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsd_pl.errors import SetupError
from rlsd_pl.types import Problem, Status

pytest.importorskip("reasoning_gym")

from rlsd_pl.tasks import ReasoningGymTask
from rlsd_pl.verifiers import ReasoningGymVerifier
from rlsd_pl.verifiers.sandbox import Level


@pytest.fixture(scope="module")
def verifier():
    made = ReasoningGymVerifier(workers=1)
    yield made
    made.close()


def block(answer: str) -> str:
    return f"So:\n```\n{answer}\n```"


def test_problems_depend_on_their_arguments_alone_and_splits_do_not_meet():
    config = {"max_terms": 3, "max_digits": 2}
    task, again = (ReasoningGymTask("chain_sum", config, seed=3, val_size=40) for _ in range(2))
    train = [task.problem("train", i) for i in range(60)]
    assert train == [again.problem("train", i) for i in range(60)]
    val = {task.problem("val", i).prompt for i in range(40)}
    assert not val & {p.prompt for p in train}
    other = ReasoningGymTask("chain_sum", config, seed=4)
    assert other.problem("train", 0).prompt != train[0].prompt
    assert task.size("train") is None
    task.problem("train", 2**62)
    with pytest.raises(IndexError):
        task.problem("val", 40)


def test_worked_solutions_are_privileged():
    problem = ReasoningGymTask("gsm_symbolic").problem("train", 0)
    assert (problem.answer or "") in problem.privileged["solution"].splitlines()[-1]
    assert problem.privileged["solution"] not in problem.prompt


@pytest.mark.parametrize("dataset", ["chain_sum", "spiral_matrix", "simple_equations", "rearc", "rush_hour"])
def test_own_answers_pass_and_others_do_not(dataset, verifier):
    task = ReasoningGymTask(dataset)
    problems = [task.problem("train", i) for i in range(3)]
    assert verifier.check_all(problems) == [None] * 3
    if problems[0].answer is not None:
        right = verifier.verify([block(p.answer or "") for p in problems], problems)
        assert {v.status for v in right} == {Status.PASS}
        assert all(v.metrics["sandbox_level"] >= Level.L2 for v in right)
    wrong = verifier.verify([block("nothing of the kind"), "no block", block("")], problems)
    assert [v.status for v in wrong] == [Status.FAIL, Status.INVALID, Status.INVALID]
    assert all(v.reward == 0 for v in wrong)


def test_no_answer_makes_its_verdict_an_error(verifier):
    """spiral_matrix evaluates what looks like a list; the others read numbers."""
    raising = [
        "1 / 0",
        "exit()",
        "(_ for _ in ()).throw(KeyboardInterrupt)",
        "().x",
        "(lambda f: f(f))(lambda f: f(f))",
    ]
    system = "__import__('os')"
    signals = [f"{system}.kill({system}.getpid(), 9)", f"{system}.abort()", f"{system}._exit(0)",
               "__import__('resource').setrlimit(0, (0, 0))", "print('{}')"]  # fmt: skip
    answers = [f"[{code}]" for code in raising + signals] + ["9" * 5000, "1e400", "nan", "[" * 5000, "\0", "\ud800"]
    for dataset in ("spiral_matrix", "chain_sum", "simple_equations"):
        problem = ReasoningGymTask(dataset).problem("train", 0)
        verdicts = verifier.verify([block(answer) for answer in answers], [problem] * len(answers))
        found = {answer[:40]: (v.status, v.detail) for answer, v in zip(answers, verdicts, strict=True)}
        assert {key: seen for key, seen in found.items() if seen[0] in (Status.ERROR, Status.PASS)} == {}, dataset
        assert [v.answer for v in verdicts] == [*answers[:-2], None, None], "nothing visible is no answer"


def test_answers_that_are_evaluated_reach_nothing(verifier, tmp_path: Path):
    """spiral_matrix calls eval on answers that look like a list."""
    task = ReasoningGymTask("spiral_matrix")
    problem = task.problem("train", 0)
    mark = tmp_path / "written"
    secret = tmp_path / "secret"
    secret.write_text("7")
    hostile = [
        f"[open({str(mark)!r}, 'w').write('x')]",
        f"[__import__('os').system('touch {mark}')]",
        f"[int(open({str(secret)!r}).read())]",
        "[__import__('socket').socket().connect(('127.0.0.1', 1))]",
        "[9**9**9**9]",
    ]
    verdicts = verifier.verify([block(text) for text in hostile], [problem] * len(hostile))
    assert {v.status for v in verdicts[:4]} == {Status.FAIL}
    assert verdicts[4].status in (Status.FAIL, Status.LIMIT)
    assert not mark.exists()
    entry = {**problem.metadata["entry"], "answer": "7"}
    reads = Problem("x", problem.messages, "7", {}, {**problem.metadata, "entry": entry})
    evaluated, stopped = verifier.verify([block("[3 + 4]"), block(hostile[2])], [reads] * 2)
    assert evaluated.metrics["score"] == 0.1
    assert set(evaluated.metrics) == {"score", "sandbox_level"}
    assert stopped.metrics["score"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("no_such_set",), "no_such_set"), (("chain_sum", {"no_setting": 1}), "no_setting")],
)
def test_mistakes_are_told(arguments, said):
    with pytest.raises(SetupError, match=said):
        ReasoningGymTask(*arguments)


def test_a_data_set_of_one_question_is_refused():
    task = ReasoningGymTask("chain_sum", val_fraction=1e-12)
    with pytest.raises(SetupError, match="too few different questions"):
        task.problem("val", 0)
