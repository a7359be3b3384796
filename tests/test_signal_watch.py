"""A run that learns nothing warns and names why; what a run will take; evaluation before training."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from rlsd_pl.callbacks import SignalWatch
from rlsd_pl.callbacks.signal_watch import causes
from rlsd_pl.commands.cli import fit
from rlsd_pl.commands.main import main
from rlsd_pl.commands.runs import read_history
from rlsd_pl.engines import ScriptedEngine
from rlsd_pl.rollout.metrics import learnt_groups
from rlsd_pl.types import Credit, PaddedTokens, RolloutBatch
from rlsd_pl.verifiers import ChoiceVerifier, GatedVerifier, MathVerifier, ThinkAnswerVerifier
from tests.tables import write_table
from tests.worlds import LetterVerifier


class Mumbles(ScriptedEngine):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__(lambda prompt, index: "well, well")


class Guesses(ScriptedEngine):
    """Half of each group answers, and rightly so: ``n + 3`` is asked for."""

    def __init__(self) -> None:
        super().__init__(self.text)

    @staticmethod
    def text(prompt: str, index: int) -> str:
        number = int(prompt.partition("What is ")[2].partition(" ")[0])
        return rf"\boxed{{{number + 3}}}" if index % 2 else "well"


@pytest.fixture
def flags(tiny_model: Path, tmp_path: Path) -> list[str]:
    table = write_table("jsonl", tmp_path)
    return [
        *("--objective", "rlvr", "--task", "jsonl", "--task.path", str(table), "--model", str(tiny_model)),
        *("--trainer", "cpu", "--num_threads", "1", "--run_dir", str(tmp_path / "a run"), "--data.group_size", "2"),
        *("--data.prompts_per_rollout", "2", "--data.max_completion_tokens", "16", "--data.val_problems", "1"),
        *("--data.val_samples", "1", "--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "4"),
    ]


def test_three_iterations_without_signal_warn_once_and_name_the_command(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fit([*flags, "--engine", "tests.test_signal_watch.Mumbles"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("3 iterations in a row without any signal") == 1
    assert (
        "Likely causes: all invalid: the answer was not found by Boxed, which asks for: Put your final answer" in told
    )
    command = f"rlsd-pl preflight --config {shlex.quote(str(tmp_path / 'a run' / 'config.yaml'))}"
    assert command.replace(" ", "") in told.replace(" ", "")
    assert read_history(tmp_path / "a run")["credit/no_signal"] == {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}
    # The command that was named shows it: the run's configuration, and a page.
    page = tmp_path / "shown.html"
    assert main([*shlex.split(command)[1:], "--groups", "2", "--output", str(page)]) == 1
    assert "none of 4 groups has a signal" in page.read_text()


def test_a_run_with_signal_does_not_warn_and_says_what_is_to_come(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fit([*flags, "--engine", "tests.test_signal_watch.Guesses"])
    told = " ".join(capsys.readouterr().out.split())
    assert "without any signal" not in told
    assert read_history(tmp_path / "a run")["credit/no_signal"][4] == 0.0
    assert "to come: 3 iterations x" in told
    assert "+ 2 evaluations x" in told
    assert "(1 held-out problems x (1 greedy + 1 sampled))" in told


@pytest.mark.parametrize("off", [("--data.val_before_training", "false"), ("--trainer.num_sanity_val_steps", "0")])
def test_evaluation_before_training_can_be_switched_off(off: tuple[str, str], flags: list[str], tmp_path: Path) -> None:
    fit([*flags, "--engine", "tests.test_signal_watch.Guesses", "--trainer.max_epochs", "2", *off])
    assert list(read_history(tmp_path / "a run")["val/greedy_accuracy"]) == [2]


def test_evaluation_before_training_is_the_default(flags: list[str], tmp_path: Path) -> None:
    fit([*flags, "--engine", "tests.test_signal_watch.Guesses", "--trainer.max_epochs", "2"])
    assert list(read_history(tmp_path / "a run")["val/greedy_accuracy"]) == [0, 2]


BOXED = r"Put your final answer within \boxed{}."


@pytest.mark.parametrize(
    ("metrics", "verifier", "expected"),
    [
        (
            {"status_invalid": 0.93, "truncated": 0.05, "status_fail": 0.07},
            MathVerifier(),
            [f"93% invalid: the answer was not found by Boxed, which asks for: {BOXED}", "7% wrong", "5% truncated"],
        ),
        ({"truncated": 1.0, "status_invalid": 1.0}, LetterVerifier(), ["all truncated", "all invalid: the answer was"]),
        ({"status_fail": 1.0}, MathVerifier(), ["all wrong"]),
        ({"status_pass": 0.6, "status_limit": 0.4}, MathVerifier(), ["60% right", "40% stopped by a limit"]),
        ({"status_error": 0.03, "status_fail": 0.97}, MathVerifier(), ["97% wrong", "3% not judged"]),
        (
            {"status_invalid": 1.0},
            GatedVerifier({"format": ThinkAnswerVerifier(), "letter": ChoiceVerifier()}),
            ["all invalid: the answer was not found by Boxed, which asks for: Think within"],
        ),
    ],
)
def test_likely_causes(metrics: dict[str, float], verifier, expected: list[str]) -> None:
    found = causes({f"rollout/{name}": value for name, value in metrics.items()}, verifier, 64)
    assert len(found) == len(expected)
    assert all(told.startswith(beginning) for told, beginning in zip(found, expected, strict=True)), found


def test_truncation_is_named_with_its_limit() -> None:
    assert causes({"rollout/truncated": 1.0}, MathVerifier(), 24) == ["all truncated at data.max_completion_tokens=24"]


def test_a_stretch_has_at_least_one_iteration() -> None:
    with pytest.raises(ValueError, match="iterations=0"):
        SignalWatch(iterations=0)


# --- which groups teach -----------------------------------------------------------------------------------------------


def batch(token_advantages: torch.Tensor | None, weights: torch.Tensor | None, mask: torch.Tensor) -> RolloutBatch:
    tokens = PaddedTokens(torch.ones(4, 2, dtype=torch.int64), torch.ones(4, 2, dtype=torch.bool))
    zeros = torch.zeros(4)
    made = RolloutBatch(tokens, tokens, torch.zeros(4, 2), zeros, zeros, mask)
    return made.credited(Credit(token_advantages, distribution_weights=weights))


def test_a_group_teaches_by_an_advantage_or_a_weight_under_the_mask() -> None:
    whole = torch.ones(4, 2, dtype=torch.bool)
    rounding = torch.full((4, 2), 1e-8)
    second = rounding + torch.tensor([[0.0, 0.0]] * 3 + [[0.0, -0.5]])
    assert learnt_groups(batch(rounding, None, whole), 2).tolist() == [False, False]
    assert learnt_groups(batch(second, None, whole), 2).tolist() == [False, True]
    masked = whole.clone()
    masked[3, 1] = False
    assert learnt_groups(batch(second, None, masked), 2).tolist() == [False, False]
    weights = torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert learnt_groups(batch(None, weights, whole), 2).tolist() == [True, False]
    nothing = whole.clone()
    nothing[1] = False
    assert learnt_groups(batch(None, weights, nothing), 2).tolist() == [False, False]
    assert learnt_groups(batch(second, weights, whole), 2).tolist() == [True, True]
