"""Sampling: verification beside generation, dynamic sampling, problem order, spans of text as token masks."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer

from rlsd_pl.collectives import _means
from rlsd_pl.contexts import RejectedSiblings
from rlsd_pl.engines import ScriptedEngine, TransformersEngine
from rlsd_pl.errors import SetupError
from rlsd_pl.objectives import CEPO, RLRT, RLSD, RLVR, SFT, Constant
from rlsd_pl.patterns import TextPattern
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.order import ProblemOrder
from rlsd_pl.rollout.sampler import Sampler
from rlsd_pl.rollout.spans import span_mask, token_ends, touches
from rlsd_pl.types import Problem, Rollout, Sampling, Status, Verdict
from rlsd_pl.verifiers import MathVerifier
from tests.harness import TRAINER, data, module
from tests.test_objectives import batch_of
from tests.test_rollouts import PROBLEMS, make
from tests.worlds import LetterVerifier, SumTask


def test_a_verifier_learns_from_the_policy_what_ends_a_turn(policy):
    verifier = MathVerifier()
    Sampler(policy=policy, engine=TransformersEngine(), verifier=verifier)
    assert verifier.rule.end_of_turn == ("<|end|>",)  # of the tiny model's tokenizer
    assert verifier.verify([r"\boxed{1}<|end|>\boxed{2}"], [Problem("p", [], answer="1")])[0].status is Status.PASS


# --- verification beside generation -----------------------------------------------------------------------------------


class RecordingVerifier(LetterVerifier):
    """Notes what it was asked, and by which thread."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.threads: set[str] = set()

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        self.asked.append(list(texts))
        self.threads.add(threading.current_thread().name)
        return super().verify(texts, problems)


def test_finished_batches_are_verified_while_others_are_generated(policy):
    verified_before_the_end: list[int] = []
    verifier = RecordingVerifier()

    class Watching(TransformersEngine):
        def generate(self, policy, prompts, sampling, seed, on_finished):
            def finished(completions):
                on_finished(completions)
                verified_before_the_end.append(len(verifier.asked))
                wait.wait(5) if not verifier.asked else None

            return super().generate(policy, prompts, sampling, seed, finished)

    wait = threading.Event()
    original = verifier.verify
    verifier.verify = lambda *a: (original(*a), wait.set())[0]
    sampler = Sampler(policy=policy, engine=Watching(batch_size=4), verifier=verifier)
    sampled = sampler.sample(PROBLEMS, Sampling(6, 4), seed=0)
    assert len(verifier.asked) >= 2, "what is final is judged while others are generated"
    assert verifier.threads == {"verify"}
    assert verified_before_the_end[-1] >= 1
    alone = [LetterVerifier().verify([r.completion.text], [r.problem])[0] for r in sampled.rollouts]
    assert [r.verdict for r in sampled.rollouts] == alone
    assert [[r.problem for r in group] for group in sampled.groups] == [[p] * 4 for p in PROBLEMS]


@pytest.mark.parametrize("engine", [TransformersEngine(batch_size=5), ScriptedEngine(lambda prompt, k: "a" * (k + 1))])
def test_every_completion_has_its_own_verdict_whether_announced_or_not(policy, engine):
    sampled = Sampler(policy=policy, engine=engine, verifier=LetterVerifier()).sample(PROBLEMS, Sampling(6, 3), seed=1)
    for rollout in sampled.rollouts:
        assert rollout.verdict == LetterVerifier().verify([rollout.completion.text], [rollout.problem])[0]


def test_a_verifier_that_raises_ends_the_rollout_with_its_own_error(policy):
    class Broken(LetterVerifier):
        def verify(self, texts, problems):
            raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        Sampler(policy=policy, engine=TransformersEngine(), verifier=Broken()).sample(PROBLEMS, Sampling(4, 2), seed=0)


# --- dynamic sampling -------------------------------------------------------------------------------------------------

FRESH = [SumTask().problem("train", i) for i in range(60, 64)]


def speaking_of(useful: Sequence[Problem]) -> ScriptedEngine:
    """Groups of unequal rewards for these problems alone."""

    def script(prompt: str, k: int) -> str:
        return "a" * (k + 1) if any(problem.prompt in prompt for problem in useful) else "ab"

    return ScriptedEngine(script)


def collect(policy, useful, max_resampling_rounds, objective=None):
    asked: list[tuple[int, int]] = []

    def replacements(attempt: int, count: int) -> list[Problem]:
        asked.append((attempt, count))
        return FRESH[2 * (attempt - 1) :][:count]

    collector = make(
        policy, objective or RLVR(), engine=speaking_of(useful), max_resampling_rounds=max_resampling_rounds
    )
    return collector.collect(PROBLEMS, 0, 0, replacements=replacements), asked


def test_zero_variance_groups_are_replaced_by_new_problems_up_to_the_cap(policy):
    collected, asked = collect(policy, [PROBLEMS[1], FRESH[0]], max_resampling_rounds=1)
    assert asked == [(1, 2)]
    assert [group[0].problem for group in collected.groups] == [FRESH[0], PROBLEMS[1], FRESH[1]]
    assert collected.sums["rollout/zero_variance_groups"] == (1.0, 3.0)
    assert collected.sums["rollout/resampling_rounds"] == (1.0, 1.0)
    assert collected.sums["rollout/replaced"] == (8.0, 20.0)
    assert collected.sums["rollout/reward"][1] == 20.0, "replaced groups count in what the policy is like"
    assert (collected.batch.advantages.view(3, -1).abs().sum(dim=1) > 0).tolist() == [True, True, False]


def test_resampling_ends_when_no_group_has_zero_variance(policy):
    collected, asked = collect(policy, [PROBLEMS[1], *FRESH], max_resampling_rounds=5)
    assert asked == [(1, 2)]
    assert collected.sums["rollout/zero_variance_groups"] == (0.0, 3.0)
    collected, asked = collect(policy, PROBLEMS, max_resampling_rounds=5)
    assert asked == []
    assert "rollout/resampling_rounds" not in collected.sums


def test_without_resampling_nothing_is_replaced(policy):
    collected, asked = collect(policy, [], max_resampling_rounds=0)
    assert asked == []
    assert [group[0].problem for group in collected.groups] == PROBLEMS


def test_a_run_with_resampling_resumes_on_the_same_problems(tiny_model):
    class Even(LetterVerifier):
        """Most groups of short completions agree."""

        @staticmethod
        def _one(text: str) -> Verdict:
            return Verdict(float(len(text) % 5 == 0), Status.PASS if len(text) % 5 == 0 else Status.FAIL)

    def problems(iterations):
        rollouts = data(verifier=Even(), max_resampling_rounds=2, group_size=2)
        Trainer(**{**TRAINER, "max_epochs": iterations}).fit(module(tiny_model, RLVR()), rollouts)
        return [group[0].problem.id for group in rollouts.latest.groups], rollouts.latest_metrics

    (first, metrics), (second, _) = problems(1), problems(1)
    assert first == second
    assert 1 <= metrics["rollout/resampling_rounds"] <= 2


def test_resampling_is_refused_for_demonstrations(tiny_model):
    with pytest.raises(SetupError, match="max_resampling_rounds=1"):
        Trainer(**TRAINER).fit(module(tiny_model, SFT(["solution"])), data(max_resampling_rounds=1))


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usable", [None, list(range(64))])
def test_replacements_are_new_problems_and_differ_by_attempt_and_process(usable):
    orders = [ProblemOrder(SumTask(), usable, 8, 3, rank, 2) for rank in range(2)]
    own = {p.id for order in orders for p in order.problems(4)}
    fresh = [p.id for order in orders for attempt in (1, 2) for p in order.replacements(4, attempt, 4)]
    assert len(own) == 8
    assert len(set(fresh)) == 16
    assert not own & set(fresh)
    assert [p.id for p in orders[0].replacements(4, 1, 4)] == fresh[:4]


def test_a_table_of_one_rollout_is_drawn_from_again():
    order = ProblemOrder(SumTask(), list(range(4)), 4, 0)
    assert len(order.replacements(0, 1, 3)) == 3


# --- spans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["plain words 12", "naïve — 数学 🙂 end", ""])
def test_token_ends_follow_the_decoded_text(policy, text):
    ids = [*policy.tokenizer.encode(text, add_special_tokens=False), policy.tokenizer.eos_token_id]
    ends = token_ends(policy, ids, policy.decode(ids), lambda token: policy.decode([token]))
    assert len(ends) == len(ids)
    assert ends[-1] == len(policy.decode(ids))
    assert ends == sorted(ends)
    assert ends == [len(policy.decode(ids[: t + 1])) for t in range(len(ids))]


@pytest.mark.parametrize("seed", range(5))
def test_token_ends_are_those_of_the_prefixes_for_any_tokens_and_decode_few_at_a_time(policy, seed):
    decoded: list[int] = []

    class Counting:
        @staticmethod
        def decode(ids):
            decoded.append(len(ids))
            return policy.decode(ids)

    text = "".join(random.Random(seed).choices("ab 12\n√数学🙂é", k=200))
    ids = policy.tokenizer.encode(text, add_special_tokens=False)
    ids.insert(seed * 7, policy.tokenizer.eos_token_id)
    ends = token_ends(Counting(), ids, policy.decode(ids), lambda token: policy.decode([token]))
    assert ends == [len(policy.decode(ids[: t + 1])) for t in range(len(ids))]
    assert max(decoded) < 16


def test_touching_is_sharing_a_character():
    assert touches([2, 2, 4, 7], [(2, 4)]) == [False, False, True, False]
    assert touches([2, 4, 7], [(1, 2), (6, 9)]) == [True, False, True]
    assert touches([3], []) == [False]


def test_a_span_marks_the_tokens_of_its_first_group(policy):
    groups = make(policy, engine=ScriptedEngine(lambda prompt, k: "say <think>12 + 3</think> 15")).sampler.sample(
        PROBLEMS[:1], Sampling(40, 2), seed=0
    )
    rollouts: list[Rollout] = groups.rollouts
    mask = span_mask(policy, rollouts, TextPattern("<think>(.*)</think>", "span"))
    ids = torch.tensor(rollouts[0].completion.token_ids)
    assert mask.shape == (2, len(ids))
    assert policy.decode(ids[mask[0]].tolist()).strip() == "12 + 3"
    assert not span_mask(policy, rollouts, TextPattern("absent", "span")).any()


@pytest.mark.parametrize("make_objective", [RLSD, CEPO, RLRT])
def test_outside_of_the_span_a_token_keeps_its_advantage(make_objective):
    batch = batch_of()
    marked = torch.zeros_like(batch.loss_mask)
    marked[:, 1] = True
    settings = {"strength": Constant(1.0), "epsilon_w": 0.5}
    whole = make_objective(**settings).credit(batch, 0).token_advantages
    spanned = make_objective(span="x", **settings).credit(replace(batch, span=marked), 0)
    assert torch.equal(spanned.token_advantages[:, 1], whole[:, 1])
    kept = batch.advantages[:, None].expand_as(whole)
    assert torch.equal(spanned.token_advantages[:, [0, 2, 3, 4]], kept[:, [0, 2, 3, 4]])
    assert 0 < spanned.metrics["span"] < 1


def test_the_collector_fills_the_span_that_an_objective_asks_for(policy):
    collected = make(
        policy, RLSD(strength=Constant(1.0), span="a+"), engine=ScriptedEngine(lambda p, k: "bba" + "ab" * k)
    )
    batch = collected.collect(PROBLEMS, 0, 0).batch
    assert batch.span.shape == batch.loss_mask.shape
    assert batch.span.any()
    assert not batch.span[batch.loss_mask].all()
    assert make(policy).collect(PROBLEMS, 0, 0).batch.span is None


class MarkingVerifier(LetterVerifier):
    """Marks each ``b``, and nothing on a completion that it fails on."""

    span_names = ("b", "never")

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        spans = [{"b": [(i, i + 1) for i, letter in enumerate(text) if letter == "b"]} for text in texts]
        verdicts = super().verify(texts, problems)
        return [
            verdict if verdict.status is Status.ERROR else replace(verdict, spans=marked)
            for verdict, marked in zip(verdicts, spans, strict=True)
        ]


class Marks(RLVR):
    """RLVR that reads two spans of its verifier."""

    @property
    def needs(self):
        return super().needs.plus(verdict_spans=("b", "never"))


def test_spans_of_verdicts_become_token_masks(policy):
    said = ["bba", "ab <think>b</think>", "aaa", "!b"]
    collector = make(policy, Marks(), engine=ScriptedEngine(lambda p, k: said[k]), max_error_share=1.0)
    collector.sampler.verifier = MarkingVerifier()
    collected = collector.collect(PROBLEMS, 0, 0)
    batch = collected.batch
    assert {name: (mask.dtype, mask.shape) for name, mask in batch.verdict_spans.items()} == dict.fromkeys(
        ("b", "never"), (torch.bool, batch.loss_mask.shape)
    )
    assert not batch.marked("never").any()
    for row, rollout in enumerate(collected.rollouts):
        pieces = [policy.decode([token]) for token in rollout.completion.token_ids]
        broken = rollout.completion.text.startswith("!")
        expected = [not broken and "b" in piece for piece in pieces]
        assert batch.marked("b")[row, : len(pieces)].tolist() == expected
        assert not batch.marked("b")[row, len(pieces) :].any()
    assert batch.marked("b").any()
    assert make(policy).collect(PROBLEMS, 0, 0).batch.verdict_spans == {}


def test_micro_batches_carry_the_marks_of_their_rows(policy):
    collector = make(policy, Marks(), engine=ScriptedEngine(lambda p, k: "ab" * (k + 1)))
    collector.sampler.verifier = MarkingVerifier()
    batch = collector.collect(PROBLEMS, 0, 0).batch
    part = batch.select(torch.tensor([4, 0])).to("cpu")
    width = part.completions.ids.shape[1]
    assert width < batch.completions.ids.shape[1]
    assert torch.equal(part.marked("b"), batch.marked("b")[[4, 0], :width])


def test_a_verifier_that_marks_no_such_spans_stops_the_run_before_training(policy, tiny_model):
    refusal = r"Got Marks.*\['b', 'never'\].*LetterVerifier.*none.*Set --verifier"
    with pytest.raises(SetupError, match=refusal):
        Trainer(**TRAINER).fit(module(tiny_model, Marks()), data(engine=None))  # nothing is sampled before
    with pytest.raises(SetupError, match=refusal):
        make(policy, Marks()).collect(PROBLEMS, 0, 0)


def test_a_span_that_is_no_pattern_is_refused():
    with pytest.raises(ValueError, match="Got objective"):
        RLSD(span="(")


def test_demonstrations_take_time_too(policy):
    collected = make(policy, SFT(["solution"])).collect(PROBLEMS, 0, 0)
    seconds, tokens = collected.sums["perf/generate_seconds"][0], collected.sums["perf/generated_tokens_per_second"]
    assert seconds > 0
    assert tokens[1] == seconds


def test_tokens_and_forwards_are_counted(policy, monkeypatch):
    """The update's forward comes later: what is scored before it is counted here by what the policy is asked."""
    asked = 0
    scored = Policy._predicting_states

    def counted(self, prompts, completions):
        nonlocal asked
        asked += len(completions.ids)
        return scored(self, prompts, completions)

    monkeypatch.setattr(Policy, "_predicting_states", counted)
    for objective, extra, contrast in ((RLVR(), 0, None), (RLSD(), 1, None), (CEPO(), 3, RejectedSiblings(count=2))):
        asked = 0
        collected = make(policy, objective, contrast=contrast).collect(PROBLEMS, 0, 0)
        rows, tokens = len(collected.rollouts), int(collected.batch.completions.mask.sum())
        assert asked == extra * rows
        assert collected.sums["perf/scored_completions"] == (rows * (1 + extra), 1.0)
        assert collected.sums["perf/generated_tokens"] == (tokens, 1.0)
    demonstrated = make(policy, SFT(["solution"])).collect(PROBLEMS, 0, 0)
    assert demonstrated.sums["perf/generated_tokens"] == (0.0, 1.0)
    assert demonstrated.sums["perf/scored_completions"] == (len(PROBLEMS), 1.0)


def test_counts_of_two_processes_add_up(policy, monkeypatch):
    monkeypatch.setattr("rlsd_pl.rollout.metrics.process_count", lambda: 2)
    sums = make(policy, RLVR()).collect(PROBLEMS, 0, 0).sums
    tokens, weight = sums["perf/generated_tokens"]
    assert _means([sums, sums])["perf/generated_tokens"] == 2 * tokens
    assert weight == 0.5
