"""What each context shows, to which completion, and what it does where it has nothing."""

from __future__ import annotations

import pytest

from rlsd_pl.contexts import (
    BareContext,
    DocumentsContext,
    FirstOf,
    RejectedSiblings,
    SolutionContext,
    SuccessfulSibling,
    VerifierFeedback,
)
from rlsd_pl.contexts.documents import cut
from rlsd_pl.contexts.siblings import FINAL_ANSWER
from rlsd_pl.types import Completion, Problem, Rollout, Status, Verdict

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [(r"so \boxed{17}.", "17"), ("steps\n#### 17", "17"), ("3+4=7;#7", "7"), ("no answer", "")],
)
def test_the_final_answer_of_a_sibling_is_found_by_pattern(text, shown):
    assert RejectedSiblings(pattern=FINAL_ANSWER).shown(text) == shown


def test_every_match_of_a_pattern_is_shown_and_a_sibling_without_one_is_passed_over():
    context = RejectedSiblings(pattern="=([0-9]);")
    siblings = group(("mine", Status.FAIL), ("nothing", Status.FAIL), ("3+4=7;7*2=5;#5", Status.FAIL))
    assert context.alternatives(siblings, 0) == ["7,5"]


def test_feedback_is_on_the_completion_itself_and_only_where_it_failed():
    said = group(("right", Status.PASS), ("wrong", Status.FAIL), ("broken", Status.ERROR), detail="got 5")
    assert [VerifierFeedback().privileged(said, i) for i in range(3)] == [None, "got 5", None]
    assert VerifierFeedback().privileged(group(("wrong", Status.FAIL)), 0) is None


def test_the_first_context_with_a_text_wins():
    context = FirstOf([SuccessfulSibling(), VerifierFeedback()])
    said = group(("right", Status.PASS), ("wrong", Status.FAIL), detail="got 5")
    assert [context.privileged(said, i) for i in range(2)] == [None, "right"]
    assert context.privileged(said[1:], 0) == "got 5"


def test_the_first_context_passes_over_problems_that_lack_its_text():
    context = FirstOf([SolutionContext("hint"), SolutionContext()])
    assert context.check(PROBLEM) is None
    assert context.privileged(MIXED, 0) == "two and two"
    assert "hint" in FirstOf([SolutionContext("hint")]).check(PROBLEM)


def test_a_bare_context_shows_the_students_own_chat():
    context = BareContext()
    assert context.messages(PROBLEM, context.privileged(MIXED, 0)) == list(PROBLEM.messages)


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
        lambda: FirstOf([]),
        lambda: DocumentsContext("/no/such/folder"),
        lambda: DocumentsContext(".", max_tokens=0),
    ],
)
def test_impossible_settings_say_what_to_set(make):
    with pytest.raises(ValueError, match=r"Got (context|contrast)\.\w+="):
        make()
