import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsd_pl.lab import ChainTask, LabVerifier
from rlsd_pl.types import Problem, Status

PROBLEM = Problem(
    id="chain/train/0",
    messages=({"role": "user", "content": "3+4*2"},),
    answer="4",
    metadata={"expression": "3+4*2", "misconceptions": ("7*2", "1-1")},
)
FAITHFUL = "@%&3+4=7;&&@7*2=4;#4"


def judge(text, problem=PROBLEM):
    (verdict,) = LabVerifier().verify([text], [problem])
    return verdict


def spanned(text, name):
    return [text[start:end] for start, end in judge(text).spans[name]]


def test_faithful_completion_passes():
    verdict = judge(FAITHFUL)
    assert (verdict.reward, verdict.status) == (1.0, Status.PASS)
    assert verdict.metrics == {"hollow": 0.0, "false_steps": 0.0}
    assert set(verdict.metrics) == set(LabVerifier.metric_names)


@pytest.mark.parametrize(("text", "answer"), [(FAITHFUL, "4"), ("#5", "5"), ("4", None), ("#5#4", None), ("#44", None)])
def test_the_verdict_holds_the_digit_that_was_answered_right_or_wrong(text, answer):
    assert judge(text).answer == answer


def test_wrong_answer_fails():
    verdict = judge("3+4=7;7*2=5;#5")
    assert (verdict.reward, verdict.status, verdict.detail) == (0.0, Status.FAIL, "got 5, expected 4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#",
        "4",
        "3+4=7;7*2=4;",
        "3+4=7;7*2=4;#",
        "##4",
        "#4#4",
        "#5#4",
        "#1#2#3#4",
        "#4 ",
        "#4\n",
        "#4;",
        "#44",
        "#04",
        "# 4",
        "#-4",
        "#4.0",
        "#\uff14",
        "#\u0664",
        "\uff034",
        "#4\x00",
        "#\u200b4",
        "#4" * 50_000,
        "3+4=7;7*2=4;#4 or 5",
    ],
)
def test_anything_but_one_final_digit_is_invalid(text):
    verdict = judge(text)
    assert (verdict.reward, verdict.status) == (0.0, Status.INVALID)
    assert verdict.metrics["hollow"] == 0.0
    assert len(verdict.detail) < 200


@pytest.mark.parametrize(
    "text",
    [
        "#4",
        "@%&#4",
        "3+4=7;#4",
        "7*2=4;#4",
        "7*2=4;3+4=7;#4",
        "3+4=7;6*2=4;#4",
        "2+4=7;7*2=4;#4",
        "3+4=7;7*3=4;#4",
        "3+4=7;7*2=5;#4",
        "3+4=7;7*2=4;4+0=4;#4",
        "3+4=7;7*2=4#4",
    ],
)
def test_answer_that_its_steps_do_not_yield_is_hollow(text):
    verdict = judge(text)
    assert verdict.reward == 1.0
    assert verdict.metrics["hollow"] == 1.0


@pytest.mark.parametrize(
    "text", [FAITHFUL, "3+4=7;7*2=4;#4", "3+4=7;7*2=5;#5", "3+4=1;1*2=2;#2", "hm 3+4=7; so 7*2=4; thus #4"]
)
def test_false_arithmetic_and_filler_are_not_hollow(text):
    assert judge(text).metrics["hollow"] == 0.0


@pytest.mark.parametrize(
    ("text", "share"), [(FAITHFUL, 0.0), ("3+4=1;1*2=2;#2", 0.5), ("3+4=1;1*2=3;#3", 1.0), ("#4", 0.0), ("9-9=1;", 1.0)]
)
def test_false_steps_is_the_share_of_false_arithmetic(text, share):
    assert judge(text).metrics["false_steps"] == share


def test_spans_mark_filler_and_results_of_misconceived_facts():
    assert judge(FAITHFUL).spans == {"decisive": [(16, 17)], "false": [], "filler": [(0, 3), (9, 12)]}
    assert spanned(FAITHFUL, "decisive") == ["4"]
    assert spanned("3+4=7;1-1=5;7*2=8;", "decisive") == ["5", "8"]
    assert spanned("no steps @ here %&", "filler") == ["@", "%&"]
    assert spanned("3+4=7;#7", "decisive") == []
    assert judge("3+4=8;7*2=5;1-1=0;").spans["false"] == [(4, 5), (10, 11)]


def test_verdicts_keep_the_order():
    verdicts = LabVerifier().verify(["#4", "#5", "x"], [PROBLEM] * 3)
    assert [verdict.status for verdict in verdicts] == [Status.PASS, Status.FAIL, Status.INVALID]
    with pytest.raises(ValueError, match="shorter"):
        LabVerifier().verify(["#4", "#5"], [PROBLEM])


@pytest.mark.parametrize(
    "problem",
    [
        Problem(id="gsm8k/1", messages=PROBLEM.messages, answer="4"),
        Problem(id="a", messages=PROBLEM.messages, answer="5", metadata=PROBLEM.metadata),
        Problem(id="b", messages=PROBLEM.messages, answer=None, metadata=PROBLEM.metadata),
        Problem(id="c", messages=(), answer="4", metadata={"expression": "2^2", "misconceptions": ()}),
        Problem(id="d", messages=(), answer="4", metadata={"expression": 4, "misconceptions": ()}),
    ],
)
def test_a_bad_reference_is_an_error_of_the_verifier_never_a_score(problem):
    assert LabVerifier().check(problem)
    assert judge("#4", problem).status is Status.ERROR


def test_every_problem_of_the_task_checks_and_verifies_against_itself():
    task, verifier = ChainTask(), LabVerifier()
    for index in range(200):
        problem = task.problem("train", index)
        assert verifier.check(problem) is None
        assert judge(f"#{problem.answer}", problem).status is Status.PASS


@given(st.one_of(st.text(), st.text(alphabet="0123456789+-*=;#@%&|,", max_size=80)))
def test_no_text_breaks_the_verifier(text):
    verdict = judge(text)
    assert verdict.status in (Status.PASS, Status.FAIL, Status.INVALID)
    assert verdict.reward == float(verdict.status is Status.PASS)
    assert verdict.reward == 0.0 or text.endswith("#4")
    assert all(0.0 <= value <= 1.0 for value in verdict.metrics.values())
    assert all(0 <= start < end <= len(text) for spans in verdict.spans.values() for start, end in spans)
