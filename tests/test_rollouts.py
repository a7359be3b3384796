"""The traps that public code fell into, one test each."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from operator import attrgetter

import pytest
import torch

from rlsd_pl.contexts import AnswerContext, Context, SolutionContext
from rlsd_pl.engines import Engine, ScriptedEngine, TransformersEngine
from rlsd_pl.errors import UserCodeError
from rlsd_pl.objectives import RLSD, RLVR, Constant, MaskTruncated, Objective, SoftPenalty, ZeroReward
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.collector import RolloutCollector
from rlsd_pl.rollout.metrics import rollout_sums
from rlsd_pl.rollout.sampler import Progress, Sampler, VerifierError, student_messages
from rlsd_pl.rollout.scorer import Scorer
from rlsd_pl.teachers import LiveTeacher, Teacher
from rlsd_pl.types import Credit, MissingSignalError, Problem, RolloutBatch, Sampling, Signal, present
from tests.worlds import LetterVerifier, SumTask

PROBLEMS = [SumTask().problem("train", i) for i in (0, 5, 40)]


def make(
    policy: Policy,
    objective: Objective | None = None,
    context: Context | None = None,
    engine: Engine | None = None,
    teacher: Teacher | None = None,
    contrast: Context | None = None,
    reference: Teacher | None = None,
    score_batch_size: int = 64,
    max_error_share: float = 0.05,
    max_resampling_rounds: int = 0,
) -> RolloutCollector:
    sampling, verifier = Sampling(max_tokens=10, completions=4), LetterVerifier()
    scorer = Scorer(
        policy=policy,
        teacher=teacher or LiveTeacher(),
        context=context or SolutionContext(),
        verifier=verifier,
        temperature=sampling.temperature,
        contrast=contrast,
        reference=reference,
        batch_size=score_batch_size,
    )
    sampler = Sampler(
        policy=policy, engine=engine or TransformersEngine(), verifier=verifier, max_error_share=max_error_share
    )
    return RolloutCollector(
        sampler=sampler,
        scorer=scorer,
        objective=objective or RLSD(strength=Constant(1.0)),
        sampling=sampling,
        max_resampling_rounds=max_resampling_rounds,
    )


class SilentContext(Context):
    """Shows the teacher what the student sees."""

    def privileged(self, group, index):
        return "nothing"

    def messages(self, problem, privileged):
        return list(problem.messages)


class EmptyHandedContext(Context):
    """Has something for every other completion only."""

    def privileged(self, group, index):
        return None if index % 2 else "seen"


@pytest.mark.parametrize("score_batch_size", [1, 3, 64])
def test_trap_1_an_empty_context_and_equal_weights_give_no_evidence(policy, score_batch_size):
    batch = make(policy, context=SilentContext(), score_batch_size=score_batch_size).collect(PROBLEMS, 0, 0).batch
    assert batch.teacher is not None
    delta = (batch.teacher.logprobs - batch.rollout_logprobs)[batch.completions.mask]
    assert delta.abs().max() < 1e-5


def test_teacher_scores_are_those_of_the_longer_prompt_alone(policy):
    collected = make(policy, score_batch_size=5).collect(PROBLEMS, 0, 0)
    context = SolutionContext()
    for row, rollout in enumerate(collected.rollouts):
        prompt = policy.encode(context.messages(rollout.problem, rollout.problem.privileged["solution"]))
        completion = list(rollout.completion.token_ids)
        table = policy.causal_lm(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        expected = torch.stack([table[len(prompt) + t - 1, token] for t, token in enumerate(completion)])
        assert torch.allclose(collected.batch.teacher.logprobs[row, : len(completion)], expected, atol=1e-4)


def test_trap_2_the_teachers_prompt_shows_the_privileged_text_and_its_absence_is_an_error(policy):
    problem = PROBLEMS[0]
    shown = SolutionContext().messages(problem, problem.privileged["solution"])[-1]["content"]
    assert problem.privileged["solution"] in shown
    assert problem.prompt in shown
    for blank in ({}, {"solution": "  "}):
        bare = Problem(problem.id, problem.messages, problem.answer, privileged=blank)
        assert "absent or blank" in SolutionContext().check(bare)
        with pytest.raises(ValueError, match="absent or blank"):
            make(policy).collect([bare], 0, 0)


@pytest.mark.parametrize("template", ["{{ prompt }}", "{{ privileged }}", "hint: {{ hint }}"])
def test_trap_2_a_template_that_hides_something_is_refused(template):
    with pytest.raises(Exception, match=r"privileged|prompt|hint"):
        AnswerContext(template=template)


def test_trap_3_sampled_ids_are_scored_and_never_encoded_again(policy):
    tokenizer = policy.tokenizer
    split = [*(tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "jars"), tokenizer.eos_token_id]
    merged = [*tokenizer.encode("jars", add_special_tokens=False), tokenizer.eos_token_id]
    assert split != merged

    class SplitEngine(ScriptedEngine):
        def generate(self, policy, prompts, sampling, seed, on_finished=None):
            from rlsd_pl.types import Completion

            ids = tuple(split)
            return [[Completion(ids, (-1.0,) * len(ids), "jars")] * sampling.completions for _ in prompts]

    batch = make(policy, engine=SplitEngine(lambda prompt, k: "")).collect(PROBLEMS[:1], 0, 0).batch
    assert batch.completions.ids.tolist() == [split] * 4


def test_trap_4_privileged_text_never_stands_in_the_students_prompt(policy):
    collector = make(policy)
    prompts = collector.sampler.prompts(PROBLEMS)
    for prompt, problem in zip(prompts, PROBLEMS, strict=True):
        text = policy.tokenizer.decode(prompt)
        assert problem.prompt in text
        assert problem.privileged["solution"] not in text


def test_trap_5_advantages_are_computed_in_groups_before_any_order(policy):
    batch = make(policy, RLVR()).collect(PROBLEMS, 0, 0).batch
    for group in range(3):
        rewards = batch.rewards[group * 4 : group * 4 + 4].tolist()
        mean = sum(rewards) / 4
        std = (sum((r - mean) ** 2 for r in rewards) / 3) ** 0.5
        expected = [(r - mean) / (std + 1e-6) if std else 0.0 for r in rewards]
        assert batch.advantages[group * 4 : group * 4 + 4].tolist() == pytest.approx(expected, abs=1e-5)
    order = torch.tensor([7, 2, 11, 0])
    picked = batch.select(order)
    assert torch.equal(picked.advantages, batch.advantages[order])
    assert picked.completions.ids.shape[1] == int(batch.completions.mask[order].sum(1).max())


def test_selecting_rows_trims_and_keeps_every_token(policy):
    batch = make(policy).collect(PROBLEMS, 0, 0).batch
    for rows in itertools.combinations(range(len(batch)), 2):
        picked = batch.select(torch.tensor(rows))
        for new, old in enumerate(rows):
            for name in ("rollout_logprobs", "token_advantages", "loss_mask", "teacher.logprobs"):
                kept = attrgetter(name)(picked)[new][picked.completions.mask[new]]
                assert torch.equal(kept, attrgetter(name)(batch)[old][batch.completions.mask[old]]), name
            assert picked.teacher.has_context[new] == batch.teacher.has_context[old]
            assert torch.equal(
                picked.prompts.ids[new][picked.prompts.mask[new]], batch.prompts.ids[old][batch.prompts.mask[old]]
            )


@pytest.mark.parametrize(("most", "forwards"), [(3, 2), (5, 3)])
def test_processes_with_fewer_completions_or_none_make_as_many_forwards(policy, monkeypatch, most, forwards):
    """Sharded, each would otherwise wait for the others for ever; here another process has ``most`` completions."""
    calls: list[int] = []
    policy.register_forward_hook(lambda *_: calls.append(1))
    collector = make(policy, score_batch_size=2)
    rollouts = collector.collect(PROBLEMS, 0, 0).rollouts[::4]
    alone, shown = collector.evidence(rollouts)
    monkeypatch.setattr("rlsd_pl.rollout.scorer.global_max", lambda value, device: max(value, most))
    calls.clear()
    delta, mask = collector.evidence(rollouts)
    assert len(calls) == forwards
    torch.testing.assert_close(delta, alone)
    assert torch.equal(mask, shown)
    calls.clear()
    delta, mask = collector.evidence([])
    assert len(calls) == forwards
    assert (delta.numel(), mask.numel()) == (0, 0)


def test_a_completion_without_context_gets_no_evidence(policy):
    collected = make(policy, context=EmptyHandedContext()).collect(PROBLEMS, 0, 0)
    batch = collected.batch
    assert batch.teacher.has_context.tolist() == [True, False] * 6
    assert torch.equal(batch.teacher.logprobs[1::2], batch.rollout_logprobs[1::2])
    assert not torch.equal(batch.teacher.logprobs[::2], batch.rollout_logprobs[::2])
    assert torch.equal(batch.token_advantages[1], batch.advantages[1].expand(batch.completions.ids.shape[1]))
    assert collected.sums["rollout/no_context"] == (6.0, 12.0)


@pytest.mark.parametrize(
    ("truncation", "rewards", "learnt"),
    [
        (ZeroReward(), [0.0, 1.0, 0.0, 1.0], [True] * 4),
        (MaskTruncated(), [1.0, 1.0, 0.0, 1.0], [False, True, True, True]),
        (SoftPenalty(buffer=8), [0.0, 0.875, 0.0, 0.625], [True] * 4),
    ],
)
def test_trap_9_truncated_completions_are_counted_and_handled_by_policy(policy, truncation, rewards, learnt):
    texts = ["z" * 50, "zz", "z", "zzzz"]
    engine = ScriptedEngine(lambda prompt, k: texts[k])
    batch, sums = _collected(make(policy, RLVR(truncation=truncation), engine=engine))
    assert sums["rollout/truncated"] == (3.0, 12.0)
    assert batch.rewards[:4].tolist() == rewards
    assert batch.loss_mask.any(dim=1)[:4].tolist() == learnt


def _collected(collector):
    collected = collector.collect(PROBLEMS, 0, 0)
    return collected.batch, collected.sums


def speak(bad: Callable[[int], bool]) -> ScriptedEngine:
    return ScriptedEngine(lambda prompt, k: "!" if bad(k) else "a" * (k + 1))


def test_trap_10_a_failed_verifier_is_no_wrong_answer(policy):
    collected = make(policy, RLVR(), engine=speak(lambda k: k == 0), max_error_share=0.5).collect(PROBLEMS, 0, 0)
    batch = collected.batch
    assert not batch.loss_mask[::4].any()
    assert (batch.advantages[::4] == 0).all()
    without = torch.tensor([1.0, 0.0, 1.0])
    expected = (without - without.mean()) / (without.std() + 1e-6)
    assert torch.allclose(batch.advantages[1:4], expected, atol=1e-5)
    assert collected.sums["rollout/status_error"] == (3.0, 12.0)
    assert collected.sums["rollout/reward"] == (6.0, 9.0)


def test_trap_10_too_many_failures_stop_the_run(policy):
    with pytest.raises(VerifierError, match="broken on purpose"):
        make(policy, RLVR(), engine=speak(lambda k: k == 0), max_error_share=0.1).collect(PROBLEMS, 0, 0)


def test_rlvr_costs_no_forward_beyond_sampling_and_rlsd_one_per_rollout(policy, monkeypatch):
    calls = []
    forward = Policy.forward
    monkeypatch.setattr(Policy, "forward", lambda self, *a, **k: calls.append(1) or forward(self, *a, **k))
    make(policy, RLVR()).collect(PROBLEMS, 0, 0)
    assert calls == []
    make(policy, RLSD()).collect(PROBLEMS, 0, 0)
    assert calls == [1]


def test_objectives_on_one_seed_see_the_same_rollouts(policy):
    first, second = (make(policy, objective).collect(PROBLEMS, 0, 7) for objective in (RLVR(), RLSD()))
    assert [r.completion for r in first.rollouts] == [r.completion for r in second.rollouts]


def test_lambda_zero_is_rlvr_bit_for_bit(policy):
    first, second = (
        make(policy, objective).collect(PROBLEMS, 0, 7).batch for objective in (RLVR(), RLSD(strength=Constant(0.0)))
    )
    assert torch.equal(first.token_advantages, second.token_advantages)


def test_groups_without_signal_are_counted(policy):
    collected = make(policy, RLVR(), engine=ScriptedEngine(lambda prompt, k: "ab")).collect(PROBLEMS, 0, 0)
    assert collected.sums["rollout/zero_variance_groups"] == (3.0, 3.0)
    assert (collected.batch.advantages == 0).all()


def test_the_verifiers_instruction_ends_the_prompt_once(policy):
    verifier = LetterVerifier()
    verifier.instruction = "Put it in a box."
    said = student_messages(PROBLEMS[0], verifier)
    assert said[-1]["content"].endswith("Put it in a box.")
    again = Problem("x", said)
    assert student_messages(again, verifier) == said


def test_sums_cover_every_status(policy):
    sums = rollout_sums(make(policy, RLVR()).collect(PROBLEMS, 0, 0).rollouts)
    assert sum(value for key, (value, _) in sums.items() if key.startswith("rollout/status_")) == 12


def test_batches_move_whole(policy):
    batch = make(policy).collect(PROBLEMS, 0, 0).batch
    moved = batch.to("meta")
    assert isinstance(moved, RolloutBatch)
    assert {moved.completions.ids.device.type, moved.prompts.mask.device.type, moved.rewards.device.type} == {"meta"}


class Entropic(RLVR):
    """Weights each token by the entropy of the policy at rollout time."""

    @property
    def needs(self):
        return super().needs.plus(Signal.ENTROPY)

    def credit(self, batch, iteration):
        return Credit(batch.advantages[:, None] * present(batch.entropy, Signal.ENTROPY))


def test_entropy_is_that_of_the_predicting_distributions(policy):
    collected = make(policy, Entropic(), score_batch_size=5).collect(PROBLEMS, 0, 0)
    for row, rollout in enumerate(collected.rollouts):
        prompt = make(policy).sampler.prompts([rollout.problem])[0]
        completion = list(rollout.completion.token_ids)
        logits = policy.causal_lm(torch.tensor([prompt + completion])).logits[0]
        for t in range(len(completion)):
            p = logits[len(prompt) + t - 1].double().softmax(-1).tolist()
            expected = -sum(x * math.log(x) for x in p if x > 0)
            assert collected.batch.entropy[row, t].item() == pytest.approx(expected, abs=1e-4)


def test_an_objective_that_reads_what_it_did_not_ask_for_is_told_the_signal(policy):
    class Forgetful(Entropic):
        needs = RLVR().needs

    with pytest.raises(MissingSignalError, match=r"holds no ENTROPY signal.*Add Signal\.ENTROPY"):
        make(policy, Forgetful()).collect(PROBLEMS, 0, 0)


@pytest.mark.parametrize(
    ("field", "shape"), [("token_advantages", "[B, T]"), ("distribution_weights", "[B]")], ids=["tokens", "weights"]
)
def test_credit_of_a_wrong_shape_is_refused_with_the_objectives_name(policy, field, shape):
    class Misshapen(RLVR):
        def credit(self, batch, iteration):
            return Credit(**{"token_advantages": None, field: torch.zeros(3, 4, 5)})

    with pytest.raises(
        UserCodeError, match=rf"Misshapen\.credit returned {field} of shape \(3, 4, 5\).*{re.escape(shape)}"
    ):
        make(policy, Misshapen()).collect(PROBLEMS, 0, 0)


def test_progress_rises_to_the_number_of_completions(policy):
    collector = make(policy)
    told: list[Progress] = []
    collector.sampler.on_progress = told.append
    collector.collect(PROBLEMS, 0, 0)
    counts = [progress.finished for progress in told]
    assert counts == sorted(counts)
    assert {(p.phase, p.total) for p in told} == {("rollouts", 12)}
    assert counts[-1] == 12
