"""Verifiers of a user: what they may return, what they raise, and what becomes of those that never return."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

from rlsd_pl.errors import SetupError, UserCodeError
from rlsd_pl.lab import LabVerifier
from rlsd_pl.objectives import RLVR
from rlsd_pl.rollout.verdict_checks import checked_verdicts
from rlsd_pl.rollout.verdicts import PendingVerdicts
from rlsd_pl.rollout.watch import watched
from rlsd_pl.types import Completion, Problem, Status, Verdict
from rlsd_pl.verifiers import FunctionVerifier
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.values import as_number
from tests.conftest import REPOSITORY
from tests.harness import train

PROBLEM = Problem(id="mine/train/3", messages=[{"role": "user", "content": "1 + 1?"}])


class Mine(Verifier):
    """Does with a batch what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def verify(self, texts, problems):
        return self.answer(texts) if callable(self.answer) else self.answer


def judge(verifier: Verifier, count: int = 1, **settings: Any) -> list[Verdict]:
    completions = [Completion((1,), (0.0,), "two") for _ in range(count)]
    with PendingVerdicts(verifier, [PROBLEM], **settings) as verdicts:
        return [rollout.verdict for rollout in verdicts.rollouts([completions])[0]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0), (0.25, 0.25), (True, 1.0), (np.float32(0.5), 0.5), (np.float64(0.5), 0.5), (np.int64(1), 1.0),
        (np.bool_(False), 0.0), (np.array(0.5), 0.5), (torch.tensor(0.5), 0.5), (torch.tensor(True), 1.0),
        (math.nan, None), (math.inf, None), (np.float32("nan"), None), ("1", None), (None, None), (1j, None),
        ([1.0], None), (np.array([0.5]), None), (torch.tensor([0.5]), None), (np.array("x"), None), (10**400, None),
    ],
)  # fmt: skip
def test_numbers_come_as_people_have_them(value, expected):
    number = as_number(value)
    assert number == expected
    assert number is None or type(number) is float


def test_a_verdict_holds_plain_numbers_whatever_it_was_made_of():
    (verdict,) = judge(
        Mine([Verdict(np.float32(0.5), "fail", metrics={"score": torch.tensor(2.0), "ok": np.bool_(True)})])
    )
    assert verdict == Verdict(0.5, Status.FAIL, metrics={"score": 2.0, "ok": 1.0})
    assert isinstance(verdict.status, Status)
    assert {type(value) for value in (verdict.reward, *verdict.metrics.values())} == {float}


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([Verdict(5.0, Status.PASS)], "Mine.verify returned a verdict with reward=5.0; expected a finite number"),
        ([Verdict(-0.5, Status.FAIL)], "reward=-0.5"),
        ([Verdict(math.nan, Status.PASS)], "reward=nan"),
        ([Verdict(math.inf, Status.PASS)], "reward=inf"),
        ([Verdict("1.0", Status.PASS)], "reward='1.0'"),
        ([Verdict(None, Status.PASS)], "reward=None"),
        ([Verdict(1.0, "good")], "status='good'; expected one of pass, fail, invalid, limit, error"),
        ([Verdict(1.0, None)], "status=None"),
        ([Verdict(1.0, Status.PASS, detail=None)], "detail=None; expected text"),
        ([Verdict(1.0, Status.PASS, answer=7)], "answer=7; expected text or None"),
        ([Verdict(1.0, Status.PASS, metrics={"style": "formal"})], r"metrics\['style'\]='formal'; expected a finite"),
        ([Verdict(1.0, Status.PASS, metrics={"style": math.nan})], r"metrics\['style'\]=nan"),
        ([Verdict(1.0, Status.PASS, metrics=[0.5])], r"metrics=\[0.5\]; expected a mapping"),
        ([Verdict(1.0, Status.PASS, metrics={"reward": 0.5})], r"metrics=\['reward'\]; expected names that"),
        ([Verdict(1.0, Status.PASS, spans=[(0, 1)])], r"spans=\[\(0, 1\)\]; expected a mapping"),
        ([Verdict(1.0, Status.PASS, spans={"a": (0, 1)})], r"spans=\{'a': \(0, 1\)\}; expected a mapping"),
        ([Verdict(1.0, Status.PASS, spans={"a": [(0, 1.5)]})], r"spans=.*expected a mapping from names to"),
        ([1.0], "returned 1.0 for a completion; expected a Verdict"),
        ([None], "returned None for a completion"),
        ([], "returned 0 for 1 completions; expected a list of 1 verdicts"),
        ([Verdict(1.0, Status.PASS)] * 2, "returned 2 for 1 completions"),
        (None, "returned None for 1 completions"),
        (Verdict(1.0, Status.PASS), "returned Verdict.* for 1 completions"),
    ],
)  # fmt: skip
def test_what_is_no_verdict_names_the_verifier_and_the_value(returned, said):
    with pytest.raises(UserCodeError, match=said) as refused:
        judge(Mine(returned))
    assert len(str(refused.value).splitlines()) == 1


def test_generators_of_verdicts_are_refused_and_tuples_are_not():
    with pytest.raises(UserCodeError, match="returned <generator"):
        judge(Mine(lambda texts: (Verdict(1.0, Status.PASS) for _ in texts)))
    assert checked_verdicts(Mine(None), (Verdict(1.0, Status.PASS),), 1) == [Verdict(1.0, Status.PASS)]


def raising(error: BaseException):
    def verify(texts):
        raise error

    return verify


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError("a bad reference"),
            r"Mine.verify raised ValueError: a bad reference \(.*test_user_verifiers.py, line",
        ),
        (KeyError("tests"), "raised KeyError: 'tests'"),
        (SystemExit(0), "raised SystemExit: 0"),
        (SystemExit(), r"raised SystemExit: \(no message\)"),
        (KeyboardInterrupt(), r"raised KeyboardInterrupt: \(no message\)"),
        (MemoryError(), "raised MemoryError"),
        (GeneratorExit(), "raised GeneratorExit"),
    ],
)
def test_what_a_verifier_raises_is_told_with_its_place(error, said):
    with pytest.raises(UserCodeError, match=said) as told:
        judge(Mine(raising(error)))
    assert told.value.__cause__ is error


def test_sys_exit_in_a_function_is_told():
    def leaves(text, problem):
        sys.exit(0)

    with pytest.raises(
        UserCodeError, match=r"FunctionVerifier \(tests.test_user_verifiers.*leaves\).verify raised SystemExit: 0"
    ):
        judge(FunctionVerifier(leaves))


@pytest.mark.parametrize("value", [np.float32(1), np.bool_(True), torch.tensor(1.0), np.array(1)])
def test_a_function_may_return_numbers_of_numpy_and_torch(value):
    assert judge(FunctionVerifier(lambda text, problem: value)) == [Verdict(1.0, Status.PASS, "function")]


def test_a_verifier_that_does_not_return_is_named_warned_of_and_given_up(caplog):
    released = threading.Event()

    def hangs(texts):
        released.wait(60)

    start = time.monotonic()
    with caplog.at_level("WARNING", logger="rlsd_pl"), pytest.raises(UserCodeError) as told:
        judge(Mine(hangs), timeout_seconds=0.6)
    seconds = time.monotonic() - start
    released.set()
    assert 0.6 <= seconds < 20
    assert "Mine.verify has not returned for" in str(told.value)
    assert "mine/train/3" in str(told.value)
    assert "raise --data.verify_timeout_seconds, which is 0.6" in str(told.value)
    warned = [record.getMessage() for record in caplog.records]
    assert warned
    assert all("Mine.verify has not returned" in line and "The run stops at 0.6 s" in line for line in warned)


class Sleepy(Mine):
    """Sleeps for ever over the first problem that it checks, and swallows what would wake it, once."""

    def check(self, problem):
        try:
            time.sleep(60)
        except Exception:
            time.sleep(60)


def test_a_check_that_does_not_return_is_named_warned_of_and_given_up(tiny_model, caplog):
    start = time.monotonic()
    with caplog.at_level("WARNING", logger="rlsd_pl"), pytest.raises(UserCodeError) as told:
        train(tiny_model, RLVR(), verifier=Sleepy(None), verify_timeout_seconds=1)
    assert 1 <= time.monotonic() - start < 30
    assert "Sleepy.check has not returned for 1 s, on problem " in str(told.value)
    assert "raise --data.verify_timeout_seconds, which is 1." in str(told.value)
    warned = [line for line in caplog.messages if "Sleepy.check has not returned" in line]
    assert "problems wait). The run stops at 1 s." in warned[0]
    assert signal.getitimer(signal.ITIMER_REAL)[1] == 0


def test_a_timer_of_somebody_else_goes_on_after_a_check():
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    kept = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with watched("X.check", "problem 1", 60):
            time.sleep(0.4)
        assert not rung
        time.sleep(0.1)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *kept)


class Stuck(LabVerifier):
    """Judges the evaluation and the first iteration, and no more."""

    calls = 0

    def verify(self, texts, problems):
        self.calls += 1
        while self.calls > 2:
            time.sleep(1)
        return super().verify(texts, problems)


@pytest.mark.slow
def test_a_run_with_a_verifier_that_sleeps_ends_and_keeps_its_iterations(tmp_path):
    """The whole process: its thread sleeps on, and does not keep it from leaving."""
    run = tmp_path / "run"
    flags = [
        *("--objective", "rlvr", "--trainer", "cpu", "--verifier", "tests.test_user_verifiers.Stuck"),
        *("--data.val_samples", "0", "--data.val_problems", "2", "--data.prompts_per_rollout", "2"),
        *("--data.group_size", "2", "--data.verify_timeout_seconds", "3", "--run_dir", str(run)),
        *("--engine.batch_size", "64"),
    ]
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert "Stuck.verify has not returned for 3 s, on 4 completions (problems " in done.stderr
    assert f"1 iterations are saved; go on with: rlsd-pl fit --resume {run}" in done.stderr
    assert [path.name for path in (run / "checkpoints").glob("*.ckpt")] == ["iteration-000001.ckpt"]


def test_a_slow_verifier_in_time_is_waited_for():
    def slow(texts):
        time.sleep(0.3)
        return [Verdict(1.0, Status.PASS) for _ in texts]

    assert judge(Mine(slow), count=2, timeout_seconds=30) == [Verdict(1.0, Status.PASS)] * 2


def test_an_error_in_generation_does_not_wait_for_a_verifier_that_hangs():
    released = threading.Event()

    def generate():
        with PendingVerdicts(Mine(lambda texts: released.wait(60)), [PROBLEM]) as verdicts:
            verdicts.submit([(0, Completion((1,), (0.0,), "two"))])
            raise RuntimeError("out of memory")

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="out of memory"):
        generate()
    assert time.monotonic() - start < 20
    released.set()


def test_a_check_that_raises_is_told_before_training(tiny_model):
    class Careless(Mine):
        def check(self, problem):
            return problem.metadata["tests"]

    with pytest.raises(UserCodeError, match=r"Careless.check raised KeyError: 'tests' \(.*in check\)"):
        train(tiny_model, RLVR(), verifier=Careless(None))


def test_a_run_on_a_verifier_that_always_fails_goes_through_where_that_is_allowed(tiny_model):
    failing = FunctionVerifier(lambda text, problem: 1 / 0)
    trainer = {"limit_val_batches": 1.0, "num_sanity_val_steps": -1, "max_epochs": 1}
    trained = train(tiny_model, RLVR(), verifier=failing, max_error_share=1.0, trainer=trainer)
    measured = trained.trainer.callback_metrics
    assert measured["val/status_error"] == measured["val/greedy_status_error"] == 1.0
    assert not [key for key in measured if key.startswith("val/") and ("accuracy" in key or "_at_" in key)]
    assert not {"val/reward", "rollout/reward"} & measured.keys()


def test_a_run_stops_on_a_verdict_that_is_none(tiny_model):
    with pytest.raises(UserCodeError, match=r"reward=5.0"):
        train(tiny_model, RLVR(), verifier=Mine(lambda texts: [Verdict(5.0, Status.PASS) for _ in texts]))


def test_setup_errors_of_a_part_keep_their_text(tiny_model):
    class Particular(Mine):
        def check(self, problem):
            raise SetupError("Got no tests; set --task.metadata.tests.")

    with pytest.raises(SetupError, match=r"^Got no tests"):
        train(tiny_model, RLVR(), verifier=Particular(None))
