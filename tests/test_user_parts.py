"""Objectives, contexts, teachers and engines of a user: what they raise is told in a few lines that name the place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from rlsd_pl.commands.cli import fit
from rlsd_pl.contexts import AnswerContext
from rlsd_pl.engines import TransformersEngine
from rlsd_pl.errors import SetupError, UserCodeError, in_user_code
from rlsd_pl.objectives import RLVR
from rlsd_pl.teachers import LiveTeacher
from rlsd_pl.types import Credit, TokenLoss

LAB = [
    *("--objective", "rlsd", "--task", "lab", "--num_threads", "1", "--data.max_completion_tokens", "8"),
    *("--data.val_problems", "2", "--data.val_samples", "0", "--data.prompts_per_rollout", "2"),
    *("--data.group_size", "2", "--trainer.max_epochs", "2", "--trainer.callbacks", "[]"),
]


class Careless(RLVR):
    """Looks up what is not there, in its second iteration."""

    def credit(self, batch, iteration):
        return self.look_up({"strength": 1}, "strenght") if iteration else super().credit(batch, iteration)

    def look_up(self, table, key):
        return table[key]  # the line that is named


class Leaving(RLVR):
    def loss(self, batch, scores):
        sys.exit(0)


class WithoutIteration(RLVR):
    def credit(self, batch):
        return Credit(token_advantages=None)


class WithoutReturn(RLVR):
    def credit(self, batch, iteration):
        pass


class Reduced(RLVR):
    def loss(self, batch, scores):
        return TokenLoss(scores.logprobs.mean(), {})


class Unable(AnswerContext):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("cannot open the index")


class Numeric(AnswerContext):
    def privileged(self, group, index):
        return int(group[index].problem.answer)


class Dividing(AnswerContext):
    def check(self, problem):
        return str(1 / 0)


class Absent(LiveTeacher):
    def after_iteration(self, policy, iteration):
        raise FileNotFoundError(2, "No such file or directory", "/elsewhere/weights.pt")


class Stingy(TransformersEngine):
    def generate(self, *args, **kwargs):
        return super().generate(*args, **kwargs)[:-1]


def line_of(marker: str) -> int:
    with open(__file__) as file:
        return next(number for number, line in enumerate(file, start=1) if line.rstrip().endswith(marker))


CASES = [
    ("objective", Careless, f"Careless.credit raised KeyError: 'strenght' ({__file__}, line {{line}}, in look_up)"),
    ("objective", Leaving, f"Leaving.loss raised SystemExit: 0 ({__file__}, line "),
    ("objective", WithoutIteration, "WithoutIteration raised TypeError: WithoutIteration.credit() takes 2 positional"),
    ("objective", WithoutReturn, "WithoutReturn.credit returned NoneType; expected a Credit"),
    ("objective", Reduced, "Reduced.loss returned shape (); expected a TokenLoss whose loss has shape ("),
    ("context", Unable, f"Unable.__init__ raised RuntimeError: cannot open the index ({__file__}, line "),
    ("context", Numeric, "Numeric gave "),
    ("context", Dividing, f"Dividing.check raised ZeroDivisionError: division by zero ({__file__}, line "),
    ("teacher", Absent, "Absent.after_iteration raised FileNotFoundError: [Errno 2] No such file or directory: '/else"),
    ("engine", Stingy, "Stingy.generate returned [[Completion("),
]


@pytest.mark.parametrize(("part", "kind", "said"), CASES, ids=[kind.__name__ for _, kind, _ in CASES])
def test_what_a_part_of_the_user_raises_is_told_in_three_lines(part, kind, said, tmp_path, capsys):
    argv = [*LAB, f"--{part}", f"{__name__}.{kind.__name__}", "--run_dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        fit(argv)
    assert left.value.code == 2
    shown = capsys.readouterr().err.strip().splitlines()
    assert len(shown) <= 3
    assert shown[0].startswith("error: " + said.replace("{line}", str(line_of("# the line that is named"))))


def test_what_is_saved_is_told_and_goes_on(tmp_path, capsys):
    argv = [*LAB, "--objective", f"{__name__}.Careless", "--run_dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        fit(argv)
    assert f"1 iterations are saved; go on with: rlsd-pl fit --resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt")] == ["iteration-000001.ckpt"]


def test_the_traceback_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("RLSD_PL_DEBUG", "1")
    with pytest.raises(UserCodeError, match=r"Leaving\.loss raised SystemExit") as told:
        fit([*LAB, "--objective", f"{__name__}.Leaving", "--run_dir", str(tmp_path / "run")])
    assert isinstance(told.value.__cause__, SystemExit)


def test_an_error_of_this_package_keeps_its_traceback(tmp_path, monkeypatch):
    # As if it stood in the package: a frame with a file of the library's.
    source = "def group_sums(*args):\n    raise KeyError('a mistake of ours')"
    space: dict[str, Any] = {}
    exec(compile(source, RLVR.__init__.__code__.co_filename, "exec"), space)
    monkeypatch.setattr("rlsd_pl.rollout.collector.group_sums", space["group_sums"])
    with pytest.raises(KeyError, match="a mistake of ours"):
        fit([*LAB, "--run_dir", str(tmp_path / "run")])


def caught(function: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        function()
    return raised.value


def test_errors_that_say_what_to_do_and_those_of_libraries_are_no_user_code():
    def refuse() -> None:
        raise SetupError("Got 3; expected 4.")

    assert in_user_code(caught(refuse)) is None
    error = KeyError("x")
    assert in_user_code(error) is None, "raised nowhere"


def test_a_frame_of_compiled_code_is_no_user_code():
    """PyYAML's parser names ``yaml/_yaml.pyx``, a file that only its makers have."""
    with pytest.raises(TypeError) as caught:
        yaml.CSafeLoader(object())
    assert in_user_code(_from_library(caught.value)) is None


def _from_library(error: BaseException) -> BaseException:
    """The error without this file's own frame."""
    return error.with_traceback(error.__traceback__.tb_next)


def test_the_text_of_an_error_is_one_line_of_bounded_length():
    def complain() -> None:
        raise RuntimeError("one\n  two\n" + "x" * 10_000)

    account = in_user_code(caught(complain))
    assert account is not None
    assert " raised RuntimeError: one two xxx" in str(account)
    assert len(str(account)) < 800
