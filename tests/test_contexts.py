"""What each context shows, to which completion, and what it does where it has nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rlsd_pl.contexts import (
    AnswerContext,
    BareContext,
    CorruptedContext,
    DocumentsContext,
    FirstOf,
    RejectedAnswers,
    RejectedSiblings,
    SolutionContext,
    SuccessfulSibling,
    VerifierFeedback,
)
from rlsd_pl.contexts.documents import cut
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.teachers import LiveTeacher
from rlsd_pl.types import Completion, Problem, Rollout, Status, Verdict
from rlsd_pl.verifiers import MathVerifier
from tests.conftest import REPOSITORY

MATH = REPOSITORY.parent / "shared" / "data" / "math500_part.jsonl"

PROBLEM = Problem("p", [{"role": "user", "content": "2 + 2?"}], "4", {"solution": "two and two"})


def group(*said: tuple[str, Status], detail: str = "") -> list[Rollout]:
    return [
        Rollout(PROBLEM, Completion((1,), (0.0,), text), Verdict(float(status is Status.PASS), status, detail))
        for text, status in said
    ]


MIXED = group(
    ("right 1", Status.PASS),
    ("wrong 1", Status.FAIL),
    ("right 2", Status.PASS),
    ("broken", Status.ERROR),
    ("wrong 2", Status.INVALID),
)


def test_a_successful_sibling_is_the_next_one_around_the_group_and_never_the_completion_itself():
    context = SuccessfulSibling()
    assert [context.privileged(MIXED, i) for i in range(5)] == ["right 2", "right 2", "right 1", "right 1", "right 1"]


def test_the_only_success_of_a_group_has_no_sibling():
    only = group(("right", Status.PASS), ("wrong", Status.FAIL))
    assert [SuccessfulSibling().privileged(only, i) for i in range(2)] == [None, "right"]


def test_rejected_siblings_are_judged_wrong_and_never_errors_or_the_completion_itself():
    context = RejectedSiblings(count=4)
    assert [context.alternatives(MIXED, i) for i in range(3)] == [
        ["wrong 1", "wrong 2"],
        ["wrong 2"],
        ["wrong 2", "wrong 1"],
    ]
    assert RejectedSiblings(count=1).alternatives(MIXED, 2) == ["wrong 2"]
    assert context.privileged(group(("right", Status.PASS)), 0) is None


def answered(*answers: str | None, status: Status = Status.FAIL) -> list[Rollout]:
    """Completions whose text says one thing and whose verdict holds the extracted answer."""
    return [
        Rollout(PROBLEM, Completion((1,), (0.0,), "### Step 1"), Verdict(0.0, status, answer=answer))
        for answer in answers
    ]


def test_rejected_answers_are_those_that_the_verifier_extracted():
    said = [*answered(r"\frac{3}{4}", None, "3", "  "), *answered("4", status=Status.PASS)]
    said += answered("7", status=Status.ERROR)
    context = RejectedAnswers()
    assert [context.alternatives(said, i) for i in range(6)] == [
        ["3"],
        ["3"],
        [r"\frac{3}{4}"],
        [r"\frac{3}{4}"],
        [r"\frac{3}{4}"],
        [r"\frac{3}{4}"],
    ]
    assert RejectedAnswers(count=2).alternatives(said, 4) == [r"\frac{3}{4}", "3"]
    assert context.passed_over(said) == 2


def test_a_right_answer_that_was_rejected_for_its_form_is_no_contrast():
    said = [*answered(" 4 ", "7"), *answered("4", status=Status.INVALID)]
    assert [RejectedAnswers().privileged(said, i) for i in range(3)] == ["7", "7", "7"]
    assert RejectedAnswers().passed_over(said) == 2


def test_a_completion_without_an_end_is_no_success():
    cut = [replace(rollout, completion=replace(rollout.completion, truncated=True)) for rollout in MIXED]
    assert SuccessfulSibling().privileged([*cut[:2], MIXED[2]], 1) == "right 2"
    assert SuccessfulSibling().privileged(cut, 1) is None


def test_the_only_rejected_answer_of_a_group_is_contrasted_with_itself():
    said = [*answered("4", status=Status.PASS), *answered("7", None)]
    assert [RejectedAnswers().privileged(said, i) for i in range(3)] == ["7", "7", "7"]
    assert RejectedAnswers(count=3).alternatives(said, 1) == ["7"]
    assert RejectedAnswers().privileged(answered("4", status=Status.PASS), 0) is None
    assert RejectedAnswers().privileged(answered(None), 0) is None
    # A whole completion, as RLCSD shows it, would give away its every next token.
    assert RejectedSiblings().privileged(said[:2], 1) is None


@pytest.mark.skipif(not MATH.exists(), reason="the real rows are not here")
def test_answers_of_real_rows_arrive_whole():
    rows = [json.loads(row) for row in MATH.read_text().splitlines()]
    rows = [*{row["answer"]: row for row in rows if "frac" in row["answer"] or "," in row["answer"]}.values()][:6]
    verifier = MathVerifier()
    try:
        for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
            problem = Problem("p", [{"role": "user", "content": row["problem"]}], row["answer"])
            texts = [
                f"### Step 1\nFirst \\boxed{{1}}, no: \\boxed{{{other['answer']}}}.",
                f"\\boxed{{{row['answer']}}}",
                "### Step 1\nI do not know.",
            ]
            verdicts = verifier.verify(texts, [problem] * 3)
            assert [v.status for v in verdicts] == [Status.FAIL, Status.PASS, Status.INVALID]
            verdicts[0] = replace(verdicts[0], answer=verdicts[0].answer or other["answer"])
            said = [Rollout(problem, Completion((1,), (0.0,), t), v) for t, v in zip(texts, verdicts, strict=True)]
            assert [RejectedAnswers().privileged(said, i) for i in range(3)] == [other["answer"]] * 3
            assert RejectedAnswers().passed_over(said) == 1
            (chat,) = RejectedAnswers().messages(problem, other["answer"])
            assert f"<reference>\n{other['answer']}\n</reference>" in chat["content"]
    finally:
        verifier.close()


def test_every_match_of_a_pattern_is_shown_and_a_sibling_without_one_is_passed_over():
    context = RejectedSiblings(pattern="=([0-9]);")
    siblings = group(("mine", Status.FAIL), ("nothing", Status.FAIL), ("3+4=7;7*2=5;#5", Status.FAIL))
    assert context.alternatives(siblings, 0) == ["7,5"]
    assert context.passed_over(siblings) == 2
    assert RejectedSiblings(pattern="=([0-9]);", separator=" then ").alternatives(siblings, 0) == ["7 then 5"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>4?\n5?</think>\n\nIt is 4.", "It is 4."),
        ("Hm. <think>a</think> b <think>c</think> d", "Hm. b d"),
        ("opened by the prompt</think>\nIt is 4.", "It is 4."),
        ("<think>never closed", "<think>never closed"),
        ("It is 4.", "It is 4."),
    ],
)
def test_a_successful_sibling_does_not_show_its_thinking(text, shown):
    siblings = group(("mine", Status.FAIL), (text, Status.PASS))
    assert SuccessfulSibling().privileged(siblings, 0) == shown
    assert SuccessfulSibling(hidden=None).privileged(siblings, 0) == text
    rejected = group(("mine", Status.FAIL), (text, Status.FAIL))
    assert RejectedSiblings().privileged(rejected, 0) == text


def test_a_sibling_of_thinking_alone_is_passed_over():
    siblings = group(("mine", Status.FAIL), ("<think>4</think>", Status.PASS), ("It is 4.", Status.PASS))
    assert SuccessfulSibling().privileged(siblings, 0) == "It is 4."
    assert SuccessfulSibling().passed_over(siblings) == 1


def test_feedback_is_on_the_completion_itself_and_only_where_it_failed():
    said = group(("right", Status.PASS), ("wrong", Status.FAIL), ("broken", Status.ERROR), detail="got 5")
    assert [VerifierFeedback().privileged(said, i) for i in range(3)] == [None, "got 5", None]
    assert VerifierFeedback().privileged(group(("wrong", Status.FAIL)), 0) is None


def test_the_first_context_with_a_text_wins():
    context = FirstOf([SuccessfulSibling(), VerifierFeedback()])
    said = group(("right", Status.PASS), ("wrong", Status.FAIL), detail="got 5")
    assert [context.privileged(said, i) for i in range(2)] == [None, "right"]
    assert context.privileged(said[1:], 0) == "got 5"


def test_the_context_that_has_the_text_words_it():
    context = FirstOf([SuccessfulSibling(), FirstOf([VerifierFeedback(place="system")])])
    said = group(("right", Status.PASS), ("wrong", Status.FAIL), detail="got 5")
    (shown,) = context.choice(said, 1).messages(PROBLEM, "right")
    assert "Here is an attempt at this problem:\n<attempt>\nright\n</attempt>" in shown["content"]
    told, asked = context.choice(said[1:], 0).messages(PROBLEM, "got 5")
    assert "judged as follows:\n<feedback>\ngot 5\n</feedback>" in told["content"]
    assert "reference" not in told["content"] + shown["content"]
    assert asked["content"] == "2 + 2?"
    assert [type(worded) for worded in context.wordings()] == [SuccessfulSibling, VerifierFeedback]
    with pytest.raises(LookupError, match="no context has a text"):
        context.choice(said[:1], 0)
    with pytest.raises(TypeError, match="choice"):
        context.messages(PROBLEM, "right")


def test_the_first_context_passes_over_problems_that_lack_its_text():
    context = FirstOf([SolutionContext("hint"), SolutionContext()])
    assert context.check(PROBLEM) is None
    assert context.privileged(MIXED, 0) == "two and two"
    assert "hint" in FirstOf([SolutionContext("hint")]).check(PROBLEM)


def test_a_bare_context_shows_the_students_own_chat():
    context = BareContext()
    assert context.messages(PROBLEM, context.privileged(MIXED, 0)) == list(PROBLEM.messages)


WORKED = [
    Problem(f"p{i}", [{"role": "user", "content": "?"}], str(7 * i), {"solution": f"7*{i}={7 * i}, so {7 * i}."})
    for i in range(400)
]


def test_a_corrupted_text_is_wrong_in_every_digit_agrees_with_itself_and_keeps_all_else():
    for problem in WORKED:
        plain, wrong = problem.privileged["solution"], CorruptedContext(SolutionContext()).text(problem)
        assert wrong is not None
        assert len(wrong) == len(plain)
        pairs = {(a, b) for a, b in zip(plain, wrong, strict=True) if a.isdigit()}
        assert all(a != b and b.isdigit() for a, b in pairs)
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert all(a == b for a, b in zip(plain, wrong, strict=True) if not a.isdigit())


def test_corruption_follows_from_the_id_and_the_seed():
    def texts(**settings) -> list[str | None]:
        return [CorruptedContext(SolutionContext(), **settings).text(problem) for problem in WORKED]

    assert texts() == texts()
    assert texts() != texts(seed=1)
    twin = replace(WORKED[1], id="p1 again")
    assert len({CorruptedContext(SolutionContext(), seed=s).text(p) for s in range(3) for p in (WORKED[1], twin)}) > 3


def test_a_share_of_the_problems_is_corrupted_and_a_larger_share_holds_the_smaller_one():
    wrong = {}
    for share in (0.0, 0.1, 0.5, 1.0):
        context = CorruptedContext(SolutionContext(), share=share)
        wrong[share] = {p.id for p in WORKED if context.text(p) != p.privileged["solution"]}
        assert abs(len(wrong[share]) / 400 - share) < 0.08, "3 standard errors"
    assert wrong[0.0] == set()
    assert wrong[0.1] < wrong[0.5] < wrong[1.0] == {p.id for p in WORKED}


@pytest.mark.parametrize("place", ["user", "system", "assistant"])
def test_a_share_of_0_is_the_plain_context(place):
    plain = SolutionContext(place=place, instruction=False)
    none, every = (CorruptedContext(plain, share=share) for share in (0.0, 1.0))
    rollouts = [Rollout(WORKED[3], Completion((1,), (0.0,), "x"), Verdict(1.0, Status.PASS))]
    text = none.privileged(rollouts, 0)
    assert text == plain.privileged(rollouts, 0)
    assert none.messages(WORKED[3], text) == plain.messages(WORKED[3], text)
    assert (none.instruction, none.choice(rollouts, 0), none.wordings()) == (False, plain, [plain])
    # A corrupted one says another text in the same words.
    wrong = every.privileged(rollouts, 0)
    assert every.messages(WORKED[3], wrong) == plain.messages(WORKED[3], wrong)
    assert wrong != text


def test_problems_that_cannot_be_corrupted_are_told_when_data_is_loaded():
    context = CorruptedContext(SolutionContext())
    assert context.check(WORKED[0]) is None
    assert "no digit" in (context.check(PROBLEM) or "")
    assert "absent" in (context.check(replace(PROBLEM, privileged={})) or "")
    assert CorruptedContext(SolutionContext(), share=0.0).check(PROBLEM) is None


@pytest.mark.skipif(not MATH.exists(), reason="needs shared/data")
def test_solutions_of_real_rows_are_corrupted_and_keep_their_words():
    rows = [json.loads(line) for line in MATH.read_text().splitlines()[:50]]
    problems = [Problem(f"m{i}", [], row["answer"], {"solution": row["solution"]}) for i, row in enumerate(rows)]
    context = CorruptedContext(SolutionContext())
    usable = [problem for problem in problems if context.check(problem) is None]
    assert len(usable) > 40
    for problem in usable:
        plain, wrong = problem.privileged["solution"], context.text(problem)
        assert wrong is not None
        assert all((a == b) is not (a in "0123456789") for a, b in zip(plain, wrong, strict=True))


def test_documents_are_read_from_files_and_cut_to_the_budget(tmp_path):
    (tmp_path / "a.md").write_text("alpha beta")
    (tmp_path / "b.md").write_text("gamma delta")
    problem = Problem("p", PROBLEM.messages, "4", {"documents": "a.md\nb.md"})
    for budget, shown in (
        (2000, "alpha beta\n\ngamma delta"),
        (19, "alpha beta\n\ngamma"),
        (18, "alpha beta\n\ngamma"),
    ):
        context = DocumentsContext(str(tmp_path), max_tokens=budget)
        FirstOf([context]).bind(Letters())
        assert context.text(problem) == shown


class Letters:
    """A tokenizer of one token per character."""

    def encode(self, text, add_special_tokens=True):
        return [*([0] if add_special_tokens else []), *map(ord, text)]

    def decode(self, token_ids, skip_special_tokens=False):
        return "".join(map(chr, token_ids))


def test_a_budget_in_tokens_of_a_real_tokenizer_is_kept(policy, tmp_path):
    text = "Les naïves façades — 数学 🙂 " * 20
    (tmp_path / "a.md").write_text(text)
    problem = Problem("p", PROBLEM.messages, "4", {"documents": "a.md"})
    for budget in range(1, 60):
        context = DocumentsContext(str(tmp_path), max_tokens=budget)
        context.bind(policy.tokenizer)
        shown = context.text(problem)
        assert shown is not None
        assert text.startswith(shown)
        assert len(policy.tokenizer.encode(shown, add_special_tokens=False)) <= budget


def test_documents_without_a_tokenizer_are_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="bind"):
        DocumentsContext(str(tmp_path)).text(PROBLEM)


@pytest.mark.parametrize("names", ["", "missing.md", "../outside.md"])
def test_a_document_that_is_absent_or_outside_the_folder_is_told_when_data_is_loaded(names, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (tmp_path / "outside.md").write_text("secret")
    problem = Problem("p", PROBLEM.messages, "4", {"documents": names})
    context = DocumentsContext(str(folder))
    context.bind(Letters())
    assert "absent or blank" in context.check(problem)


@pytest.mark.parametrize(
    ("budget", "kept"), [(5, "one"), (7, "one two"), (8, "one two"), (2, "on"), (99, "one two three")]
)
def test_a_cut_ends_between_words_where_it_can(budget, kept):
    assert cut("one two three", budget, Letters()) == kept


@pytest.mark.parametrize(
    "make",
    [
        lambda: RejectedSiblings(count=0),
        lambda: RejectedAnswers(count=0),
        lambda: FirstOf([]),
        lambda: CorruptedContext(SolutionContext(), share=1.5),
        lambda: CorruptedContext(SolutionContext(), share=-0.1),
        lambda: DocumentsContext("/no/such/folder"),
        lambda: DocumentsContext(".", max_tokens=0),
    ],
)
def test_impossible_settings_say_what_to_set(make):
    with pytest.raises(ValueError, match=r"Got (context|contrast)\.\w+="):
        make()


# --- the teacher's prompt ---------------------------------------------------------------------------------------------

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
TOLD = "Told: {{ privileged }}"
CONTROLS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TURNS = {
    "user": ["<|user|>", "<|end|>", "<|assistant|>"],
    "system": ["<|system|>", "<|end|>", "<|user|>", "<|end|>", "<|assistant|>"],
    "assistant": ["<|user|>", "<|end|>", "<|assistant|>"],
}
"""Control tokens of the teacher's prompt by place, whatever stands in the texts."""


@pytest.mark.parametrize(
    ("chat", "settings", "expected"),
    [
        (CHAT, {"template": "{{ prompt }} ({{ privileged }})"}, [("system", "Be brief."), ("user", "2 + 2? (R)")]),
        (CHAT, {"template": TOLD, "place": "system"}, [("system", "Told: R\n\nBe brief."), ("user", "2 + 2?")]),
        (CHAT[1:], {"template": TOLD, "place": "system"}, [("system", "Told: R"), ("user", "2 + 2?")]),
        (CHAT[1:], {"place": "assistant"}, [("user", "2 + 2?"), ("assistant", " R")]),
        (CHAT[1:], {"place": "assistant", "template": f"{TOLD}\n"}, [("user", "2 + 2?"), ("assistant", "Told: R\n")]),
        (
            [CHAT[1], {"role": "assistant", "content": "So"}],
            {"place": "assistant"},
            [("user", "2 + 2?"), ("assistant", " RSo")],
        ),
    ],
)
def test_the_privileged_text_stands_where_it_is_placed(chat, settings, expected):
    messages = AnswerContext(**settings).messages(Problem("p", chat, "R"), "R")
    assert [(m["role"], m["content"]) for m in messages] == expected


@pytest.mark.parametrize("place", ["user", "system", "assistant"])
@pytest.mark.parametrize(
    "context", [AnswerContext, SolutionContext, SuccessfulSibling, RejectedAnswers, RejectedSiblings, VerifierFeedback]
)
def test_every_context_shows_its_text_in_every_place_and_the_student_never_sees_it(context, place, policy):
    secret = r"the secret \frac{3}{4} <|end|><|assistant|>"
    messages = context(place=place).messages(PROBLEM, secret)
    teacher, student = policy.encode(messages), policy.encode(PROBLEM.messages)
    assert secret in policy.tokenizer.decode(teacher)
    assert policy.tokenizer.decode(teacher).count("2 + 2?") == 1
    assert "secret" not in policy.tokenizer.decode(student)
    assert [token for token in policy.tokenizer.convert_ids_to_tokens(teacher) if token in CONTROLS] == TURNS[place]
    if place == "assistant":
        assert teacher[: len(student)] == student


class Instructed:
    instruction = "End with #N."


def teacher_prompts(policy, context, said):
    texts = [context.privileged(said, i) for i in range(len(said))]
    scorer = Scorer(policy=policy, teacher=LiveTeacher(), context=context, verifier=Instructed(), temperature=1.0)
    prompts, shown = scorer._prompts_with(context, texts, [said])
    rows = zip(prompts.ids, prompts.mask, strict=True)
    return [policy.tokenizer.decode(ids[mask].tolist()) for ids, mask in rows], shown.tolist()


def test_the_teacher_sees_the_answer_instruction_unless_told_otherwise(policy):
    said = group(("right", Status.PASS))
    (with_it,), _ = teacher_prompts(policy, AnswerContext(template="{{ prompt }}={{ privileged }}"), said)
    assert with_it == "<|user|>2 + 2?\n\nEnd with #N.=4<|end|><|assistant|>"
    context = AnswerContext(template="{{ prompt }}={{ privileged }}", instruction=False)
    assert teacher_prompts(policy, context, said) == (["<|user|>2 + 2?=4<|end|><|assistant|>"], [True])


def test_every_completion_is_worded_by_the_context_that_has_its_text(policy):
    template = "{{ prompt }} %s {{ privileged }}"
    sibling = SuccessfulSibling(template=template % "sibling", instruction=False)
    feedback = VerifierFeedback(template=template % "feedback", instruction=False)
    said = group(("right", Status.PASS), ("wrong", Status.FAIL), detail="got 5")
    prompts, shown = teacher_prompts(policy, FirstOf([feedback, sibling]), said)
    assert shown == [False, True]
    assert prompts == [
        "<|user|>2 + 2?\n\nEnd with #N.<|end|><|assistant|>",
        "<|user|>2 + 2? feedback got 5<|end|><|assistant|>",
    ]
    prompts, shown = teacher_prompts(policy, FirstOf([sibling, feedback]), said)
    assert (prompts[1], shown) == ("<|user|>2 + 2? sibling right<|end|><|assistant|>", [False, True])


@pytest.mark.parametrize("place", ["user", "system", "assistant"])
def test_a_blank_privileged_text_is_an_error_and_not_a_blank(place):
    with pytest.raises(ValueError, match="blank privileged text"):
        AnswerContext(place=place).messages(PROBLEM, " \n")
    blank = Problem("p", PROBLEM.messages, " ")
    said = [replace(MIXED[0], problem=blank)]
    with pytest.raises(ValueError, match="Problem p: no privileged text: the answer is absent or blank"):
        AnswerContext(place=place).privileged(said, 0)
    assert AnswerContext(place=place).check(blank) == "no privileged text: the answer is absent or blank"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"template": "{{ privileged }}"}, r"does not show {{ prompt }}.*context\.place=user"),
        ({"template": "{{ prompt }}"}, r"does not show {{ privileged }}"),
        ({"template": "{{ prompt }}", "place": "system"}, r"does not show {{ privileged }}"),
        ({"template": "{{ prompt }} {{ privileged }} {{ hint }}"}, "'hint' is undefined"),
        ({"template": "{{ prompt "}, r"Got context\.template='{{ prompt '; expected Jinja2"),
        ({"template": "{{ prompt }}{{ privileged }}{{ ''.__class__.__mro__ }}"}, "unsafe"),
        ({"template": "{{ prompt }}{{ privileged }}{{ cycler.__init__.__globals__.os }}"}, "unsafe"),
        ({"place": "tool"}, r"Got context\.place='tool'; expected one of user, system, assistant"),
    ],
)
def test_a_wording_that_cannot_serve_is_refused_at_once(settings, said):
    with pytest.raises(ValueError, match=said):
        AnswerContext(**settings)


def test_a_template_arrives_as_it_is_written():
    context = AnswerContext(template="{{ prompt }}\n{{ privileged }}\n")
    assert context.messages(PROBLEM, "4")[-1]["content"] == "2 + 2?\n4\n"
