"""The leakage callback: what it logs, when it acts, what it remembers, and in whose module it works."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from rlsd_pl.callbacks import LeakageDetection, Scale, Stop
from rlsd_pl.callbacks.leakage_samples import answer_confidence, answer_lead, gap_sums, samples_of_rollouts
from rlsd_pl.contexts import SuccessfulSibling
from rlsd_pl.engines import ScriptedEngine
from rlsd_pl.errors import SetupError
from rlsd_pl.lab import LabVerifier
from rlsd_pl.leakage import Above, Rises, Sample
from rlsd_pl.objectives import OPSD, RLSD, RLVR, TeacherFreeRLSD
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Problem, Rollout, Status, Verdict
from rlsd_pl.verifiers import MathVerifier
from tests.harness import TRAINER, data, module
from tests.objective_loops import random_batch, teacher_of
from tests.worlds import SumTask

ALWAYS = [Above("leakage/overlap", -1.0, checks=1)]
HELD_OUT = (
    *("phrase_rate", "hollow_rate", "overlap", "overlap_rise", "answer_first", "several_answers", "invalid_rate"),
    *("length_drift", "entropy", "entropy_drift", "teacher_kl"),
)


def run(tiny_model, watch: LeakageDetection, objective=None, fit: Any = None, **settings: Any) -> Trainer:
    trainer = Trainer(**{**TRAINER, "limit_val_batches": 1.0, "callbacks": [watch], **settings})
    trainer.fit(module(tiny_model, objective or RLSD()), fit or data())
    return trainer


def refers(watch: LeakageDetection, text: str, prompt: str = "What is 2 + 2?") -> bool:
    return watch.refers(prompt, text)


@pytest.mark.parametrize(
    "text",
    [
        "As given in the solution, x is 4.",
        "According to the reference, it is 4.",
        "This matches the provided answer.",
        "We already know that the final answer is 4, so",
        "because it is stated in the answer",
    ],
)
def test_phrases_that_refer_to_unseen_material_count(text):
    assert refers(LeakageDetection(), text)


@pytest.mark.parametrize("text", ["The answer is 4.", "We know that 2 + 2 = 4.", "I refer to step 1.", ""])
def test_ordinary_reasoning_does_not(text):
    assert not refers(LeakageDetection(), text)


def test_a_phrase_that_the_problem_itself_holds_does_not_count():
    text = "According to the reference, water boils at 100 degrees."
    assert not refers(LeakageDetection(), text, prompt="Use this: according to the reference, ...")


def test_patterns_are_the_users():
    watch = LeakageDetection(patterns=["psst"])
    assert refers(watch, "PSST, it is 4")
    assert not refers(watch, "According to the reference")


# --- measures --------------------------------------------------------------------------------------------------------


def test_everything_is_logged_and_an_alarm_that_stays_warns_once(tiny_model, caplog):
    watch = LeakageDetection(rules=[Above("leakage/hollow_rate", -1.0, checks=1)])
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        logged = run(tiny_model, watch).callback_metrics
    assert {f"leakage/{key}" for key in (*HELD_OUT, "gap", "alarms")} <= logged.keys()
    assert caplog.text.count("Leakage alarm after iteration 1: leakage/hollow_rate is") == 1
    assert logged["leakage/alarms"] == 1.0
    again = LeakageDetection(rules=[Above("leakage/hollow_rate", -1.0, checks=1)])
    again.load_state_dict(watch.state_dict())
    assert again.first == watch.first
    assert again.first["length"] == 10.0
    assert again.alarms.held == watch.alarms.held == [2]


def test_a_context_that_held_out_completions_lack_gives_no_divergence(tiny_model):
    trainer = Trainer(**{**TRAINER, "max_epochs": 1, "limit_val_batches": 1.0, "callbacks": [LeakageDetection()]})
    trained = module(tiny_model, RLSD())
    trained.context = SuccessfulSibling()
    trainer.fit(trained, data())
    assert "leakage/phrase_rate" in trainer.callback_metrics
    assert not {"leakage/teacher_kl", "leakage/overlap"} & trainer.callback_metrics.keys()


def test_the_gap_is_k1_over_the_tokens_that_have_a_context():
    batch = random_batch(1)
    teacher, expected = teacher_of(batch), []
    for b, t in batch.loss_mask.nonzero().tolist():
        if teacher.has_context[b]:
            delta = float(teacher.logprobs[b, t] - batch.rollout_logprobs[b, t])
            expected.append(-delta)
    assert gap_sums(batch) == {"gap": pytest.approx((sum(expected), len(expected)))}
    assert gap_sums(None) == {}


def test_a_divergence_that_the_updates_measured_is_the_gap_where_there_are_no_teacher_scores(tiny_model):
    logged = run(tiny_model, LeakageDetection(), OPSD(), max_epochs=1).callback_metrics
    assert logged["leakage/gap"] == logged["train/divergence"]


def test_every_second_evaluation_is_measured(tiny_model):
    class Noted(LeakageDetection):
        def on_validation_end(self, trainer, pl_module):
            super().on_validation_end(trainer, pl_module)
            noted.append(bool(self.measured))

    noted: list[bool] = []
    run(tiny_model, Noted(every=2), max_epochs=3)
    assert noted == [True, False, True]


def test_the_confidence_is_the_probability_of_the_tokens_of_the_last_answer(policy: Policy):
    text = "42 or so: 42"
    ids = policy.tokenizer.encode(text, add_special_tokens=False)
    logprobs = [-9.0] * len(ids)
    pieces = [policy.decode([i]) for i in ids]
    assert "".join(pieces) == text
    end, own = len(text), []
    for place in reversed(range(len(ids))):
        if end > text.rfind("42"):
            own.append(place)
        end -= len(pieces[place])
    for place in own:
        logprobs[place] = math.log(0.5)
    stop = next(iter(policy.stop_ids))
    completion = Completion((*ids, stop), (*logprobs, -5.0), text)
    assert answer_confidence(policy, completion, " 42") == pytest.approx(0.5 ** len(own))
    for absent in (None, " ", "43"):
        assert answer_confidence(policy, completion, absent) is None


def test_a_rollout_is_described_by_its_problem_verdict_and_log_probs(policy):
    own = cast(Any, SimpleNamespace(policy=policy, context=SimpleNamespace(
        check=lambda problem: None, privileged=lambda group, index: "secret"
    )))  # fmt: skip
    problem = Problem("p", [{"role": "user", "content": "2 + 2?"}])
    ids = tuple(policy.tokenizer.encode("it is", add_special_tokens=False))
    completion = Completion(ids, (-0.5,) * len(ids), "it is")
    wrong = Rollout(problem, completion, Verdict(0.0, Status.INVALID, metrics={"hollow": 1.0}))
    broken = Rollout(problem, completion, Verdict(0.0, Status.ERROR))
    assert samples_of_rollouts(own, [[wrong], [broken]], drawn=True) == [
        Sample("2 + 2?", "it is", "secret", None, False, True, True, len(ids), 0.5 * len(ids), None),
        Sample("2 + 2?", "it is", "secret", None, None, None, None, len(ids), 0.5 * len(ids), None),
    ]


# --- probes and shifted problems -------------------------------------------------------------------------------------


def test_the_verifier_says_what_introduces_an_answer():
    assert answer_lead(LabVerifier()) == "#"
    assert answer_lead(MathVerifier()) == r"\boxed{"
    assert answer_lead(data().verifier) is None


def test_without_a_lead_nothing_is_probed_and_that_is_said(tiny_model, caplog):
    with caplog.at_level("INFO", logger="rlsd_pl"):
        logged = run(tiny_model, LeakageDetection(), max_epochs=1).callback_metrics
    assert "LetterVerifier does not say what introduces one. See --leakage.answer_lead" in caplog.text
    assert "leakage/answer_at_once" not in logged


def test_the_chance_of_an_answer_at_once_is_that_of_its_lead_behind_the_prompt(tiny_model):
    watch = LeakageDetection(probe_problems=2, answer_lead="so")
    trained, rollouts = module(tiny_model, RLSD()), data()
    trainer = Trainer(**{**TRAINER, "max_epochs": 1, "limit_val_batches": 1.0, "callbacks": [watch]})
    trainer.fit(trained, rollouts)
    policy = trained.policy.eval()
    lead = policy.tokenizer.encode("so", add_special_tokens=False)

    def chance(problem: Problem) -> float:
        prompt = policy.encode(problem.messages)
        with torch.no_grad():
            logits = policy.causal_lm(torch.tensor([[*prompt, *lead]])).logits[0, len(prompt) - 1 : -1]
        return logits.softmax(-1)[range(len(lead)), lead].prod().item()

    held_out = [SumTask().problem("val", index) for index in range(2)]
    assert rollouts.latest is not None
    for key, problems in (
        ("leakage/answer_at_once", held_out),
        ("leakage/rollout_at_once", [group[0].problem for group in rollouts.latest.groups]),
    ):
        expected = sum(map(chance, problems)) / len(problems)
        assert trainer.callback_metrics[key].item() == pytest.approx(expected, rel=1e-3)
    assert "leakage/answer_before" not in trainer.callback_metrics  # its verifier extracts no answer


class FarSums(SumTask):
    """Its held-out completions refer to the reference, which the engine below sees to."""

    def problem(self, split, index):
        problem = super().problem(split, index)
        return Problem(problem.id, [{"role": "user", "content": "far"}], problem.answer, problem.privileged)


def test_shifted_problems_are_measured_beside(tiny_model):
    engine = ScriptedEngine(lambda prompt, k: "the hint says" if "far" in prompt else "it is")
    rollouts = data(shifted=FarSums(), engine=engine, max_completion_tokens=20)
    logged = run(tiny_model, LeakageDetection(shifted_problems=3), fit=rollouts, max_epochs=1).callback_metrics
    assert logged["leakage/phrase_rate"] == 0.0
    assert logged["leakage/shifted_phrase_rate"] == 1.0
    assert len(rollouts.complete_shifted(3)) == 3
    assert "leakage/shifted_accuracy" in logged


def test_shifted_problems_that_nobody_can_judge_stop_the_run(tiny_model):
    class Blank(SumTask):
        def problem(self, split, index):
            return Problem(f"blank/{index}", [{"role": "user", "content": " "}])

    with pytest.raises(SetupError, match="the prompt is absent or blank"):
        run(tiny_model, LeakageDetection(), fit=data(shifted=Blank()))


# --- alarms ----------------------------------------------------------------------------------------------------------


def test_a_rule_on_rollouts_is_checked_in_every_iteration(tiny_model, caplog):
    watch = LeakageDetection(rules=[Above("rollout/length", 1.0, checks=3)])
    with caplog.at_level("WARNING", logger="rlsd_pl"):
        run(tiny_model, watch, max_epochs=3, check_val_every_n_epoch=3)
    assert caplog.text.count("Leakage alarm after iteration 3: rollout/length is ") == 1


def test_stop_ends_the_run_after_the_iteration(tiny_model):
    trainer = run(tiny_model, LeakageDetection(rules=ALWAYS, on_leak=Stop()), max_epochs=5)
    assert trainer.current_epoch == 1


def test_the_evaluation_before_training_stops_nothing(tiny_model):
    watch = LeakageDetection(rules=[Rises("leakage/overlap", 1e9), *ALWAYS], on_leak=Stop())
    trainer = run(tiny_model, watch, max_epochs=5, num_sanity_val_steps=-1)
    assert trainer.current_epoch == 1


def test_scale_lowers_the_weight_of_distillation_and_logs_it(tiny_model):
    objective = RLSD()
    watch = LeakageDetection(rules=ALWAYS, on_leak=Scale(0.5, least=0.2))
    logged = run(tiny_model, watch, objective, max_epochs=2).callback_metrics
    assert objective.distillation_scale == logged["leakage/scale"] == 0.25
    again = LeakageDetection(rules=ALWAYS, on_leak=Scale(0.5, least=0.2))
    again.load_state_dict(watch.state_dict())
    resumed = module(tiny_model, RLSD())
    again.on_fit_start(cast(Any, SimpleNamespace()), resumed)
    assert resumed.objective.distillation_scale == 0.25
    again.on_leak.act(cast(Any, SimpleNamespace()), resumed)
    assert resumed.objective.distillation_scale == 0.2
    again.load_state_dict(watch.state_dict())  # sharded, the state comes after the start
    assert resumed.objective.distillation_scale == 0.25


def test_a_scale_that_has_not_changed_changes_no_bit(tiny_model):
    def weights(watch: LeakageDetection) -> list[torch.Tensor]:
        trained = module(tiny_model, RLSD())
        trainer = Trainer(**{**TRAINER, "max_epochs": 2, "limit_val_batches": 1.0, "callbacks": [watch]})
        trainer.fit(trained, data())
        return [p.detach() for p in trained.policy.parameters()]

    plain, scaled = weights(LeakageDetection(rules=[])), weights(LeakageDetection(rules=[], on_leak=Scale()))
    assert all(torch.equal(a, b) for a, b in zip(plain, scaled, strict=True))


@pytest.mark.parametrize("objective", [RLVR(), TeacherFreeRLSD()])
def test_scale_is_refused_where_there_is_nothing_to_scale(tiny_model, objective):
    with pytest.raises(SetupError, match=f"Scale for {type(objective).__name__}, which asks no teacher"):
        run(tiny_model, LeakageDetection(on_leak=Scale()), objective)


# --- somebody else's module ------------------------------------------------------------------------------------------


class Theirs(LightningModule):
    """Knows nothing of this package. Offers texts in its batches, or returns them."""

    def __init__(self, returns: bool = False) -> None:
        super().__init__()
        self.layer, self.returns, self.distillation_scale = torch.nn.Linear(1, 1), returns, 1.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(torch.ones(2, 1))

    def training_step(self, batch, index):
        return self.layer(batch).sum() * self.distillation_scale

    def val_dataloader(self):
        column = ["2 + 2?", "3 + 3?"]
        offered = {"prompts": column, "completions": ["the hint says 4", "3 + 3 = 6"], "references": ["so 4", "so 6"]}
        return DataLoader([{"x": 1} if self.returns else offered], batch_size=None)

    def validation_step(self, batch, index):
        return SimpleNamespace(prompts=["2 + 2?"], completions=["the hint says 4"]) if self.returns else None


def train_theirs(watch: LeakageDetection, theirs: LightningModule, **settings: Any) -> Trainer:
    trainer = Trainer(**{**TRAINER, "limit_val_batches": 1.0, "max_epochs": 1, "callbacks": [watch], **settings})
    trainer.fit(theirs)
    return trainer


def test_it_works_in_a_module_of_somebody_else():
    theirs = Theirs()
    logged = train_theirs(LeakageDetection(on_leak=Scale()), theirs).callback_metrics
    found = {key.removeprefix("leakage/"): value.item() for key, value in logged.items() if key.startswith("leakage/")}
    expected = {"phrase_rate": 0.5, "overlap": 0.5 + 0.5, "overlap_rise": 0.0, "answer_first": 0.0}
    assert found == {**expected, "several_answers": 0.0, "alarms": 1.0, "scale": 0.5}
    assert theirs.distillation_scale == 0.5


def test_what_their_step_returns_counts_where_the_batch_offers_nothing():
    assert train_theirs(LeakageDetection(), Theirs(returns=True)).callback_metrics["leakage/phrase_rate"] == 1.0


def test_a_module_that_offers_no_texts_is_told_what_is_missing():
    class Mute(Theirs):
        def validation_step(self, batch, index):
            return torch.zeros(())

    with pytest.raises(SetupError, match=r"got a dict as validation batch and Tensor from validation_step; expected"):
        train_theirs(LeakageDetection(), Mute(returns=True))
