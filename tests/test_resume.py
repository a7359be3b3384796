"""What may change when a run goes on, and what makes it another run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch.optim import lr_scheduler

from rlsd_pl.commands.fingerprint import described, differences, fingerprint, record
from rlsd_pl.commands.resume import Change, ConfigHistory, changes, refuse_another_run, resumed_callbacks
from rlsd_pl.persistence.checkpoints import newest_good
from rlsd_pl.tasks.base import Task
from rlsd_pl.types import Problem
from tests.loops import Regression, fit

CONFIG = {
    "seed_everything": 0,
    "num_threads": 1,
    "model": {"name_or_path": "lab", "lora": {"r": 0, "alpha": None}},
    "objective": {"class_path": "a.RLSD", "init_args": {"epsilon_w": 0.2, "schedule": [1, 2]}},
    "teacher": {"class_path": "a.Live"},
    "data": {"prompts_per_rollout": 8, "group_size": 8, "micro_batch_size": 64, "val_samples": 4, "temperature": 1.0},
    "optimizer": {"class_path": "AdamW", "init_args": {"lr": 1e-4, "betas": [0.9, 0.999]}},
    "trainer": {"max_epochs": 5, "callbacks": [{"class_path": "x.Report"}]},
}


def changed(path: str, value: object) -> dict:
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    *folders, last = path.split(".")
    place = config
    for name in folders:
        place = place[name]
    place[last] = value
    return config


FREE = [
    ("trainer.max_epochs", 9),
    ("trainer.callbacks", []),
    ("num_threads", 4),
    ("data.micro_batch_size", 8),
    ("data.val_samples", 8),
    ("optimizer.init_args.lr", 1e-5),
    ("optimizer.init_args.betas", [0.8, 0.99]),
]

IDENTITY = [
    ("seed_everything", 1),
    ("model.name_or_path", "other"),
    ("model.lora.r", 4),
    ("objective.class_path", "a.RLVR"),
    ("objective.init_args.epsilon_w", 0.3),
    ("objective.init_args.schedule", [2, 1]),
    ("teacher.class_path", "a.EMA"),
    ("data.prompts_per_rollout", 4),
    ("data.temperature", 0.5),
    ("optimizer.class_path", "SGD"),
]


@pytest.mark.parametrize(("key", "value"), FREE)
def test_what_does_not_change_the_run_is_accepted(key, value):
    (found,) = changes(CONFIG, changed(key, value))
    assert found.key == key
    refuse_another_run(Path("r"), [found], allowed=False)


@pytest.mark.parametrize(("key", "value"), IDENTITY)
def test_what_makes_another_run_is_refused_by_name_unless_it_is_allowed(key, value, caplog):
    found = changes(CONFIG, changed(key, value))
    assert [change.key for change in found] == [key]
    with pytest.raises(ValueError, match=rf"make r another run: --{key}: was .*, got .*--resume_changes allow"):
        refuse_another_run(Path("r"), found, allowed=False)
    with caplog.at_level("WARNING"):
        refuse_another_run(Path("r"), found, allowed=True)
    assert key in caplog.text


def test_the_same_settings_are_no_change():
    assert changes(CONFIG, yaml.safe_load(yaml.safe_dump(CONFIG))) == []


def test_the_arguments_of_two_classes_are_not_compared():
    now = changed("objective", {"class_path": "a.RLVR", "init_args": {"clip": 1}})
    assert [change.key for change in changes(CONFIG, now)] == ["objective.class_path"]


def test_settings_that_come_and_go_are_shown():
    found = changes({"a": {"b": 1}}, {"a": {"c": None}})
    assert [str(change) for change in found] == ["--a.b: was 1, got nothing", "--a.c: was nothing, got None"]


# --- the optimizer ---------------------------------------------------------------------------------------------------


def resume_with(folder: Path, names: list[str], **module: object) -> Regression:
    found = [Change(f"optimizer.init_args.{name}", None, None) for name in names]
    return fit(folder, 4, newest_good(folder / "checkpoints"), callbacks=resumed_callbacks(found), **module)


def adam(**settings: object) -> Callable:
    return partial(torch.optim.AdamW, **settings)


def test_a_new_learning_rate_is_trained_with(tmp_path):
    fit(tmp_path, 2, optimizer=adam(lr=0.1))
    resumed = resume_with(tmp_path, ["lr", "betas"], optimizer=adam(lr=0.003, betas=(0.5, 0.7)))
    assert resumed.rates == [0.003] * 4
    group = resumed.trainer.optimizers[0].param_groups[0]
    assert group["betas"] == (0.5, 0.7)
    assert resumed.trainer.optimizers[0].state[resumed.layer.weight]["step"] == 8  # its moments were kept


def test_without_a_change_the_restored_rate_stays(tmp_path):
    fit(tmp_path, 2, optimizer=adam(lr=0.1))
    assert resume_with(tmp_path, [], optimizer=adam(lr=0.003)).rates == [0.1] * 4


@pytest.mark.parametrize(
    "scheduler",
    [
        partial(lr_scheduler.ExponentialLR, gamma=0.5),
        partial(lr_scheduler.LambdaLR, lr_lambda=lambda epoch: 0.5**epoch),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.ExponentialLR(optimizer, 0.5), lr_scheduler.ExponentialLR(optimizer, 0.5)],
            milestones=[3],
        ),
    ],
    ids=["recursive", "from the base", "nested"],
)
def test_a_scheduler_goes_on_from_the_new_rate(tmp_path, scheduler):
    fit(tmp_path / "new", 4, optimizer=adam(lr=0.01), scheduler=scheduler)
    fit(tmp_path / "old", 2, optimizer=adam(lr=0.1), scheduler=scheduler)
    resumed = resume_with(tmp_path / "old", ["lr"], optimizer=adam(lr=0.01), scheduler=scheduler)
    expected = fit(tmp_path / "whole", 4, optimizer=adam(lr=0.01), scheduler=scheduler).rates[4:]
    assert resumed.rates == pytest.approx(expected)
    assert resumed.rates[0] == pytest.approx(0.0025)


# --- configurations --------------------------------------------------------------------------------------------------


def test_the_earlier_configuration_is_kept_beside_the_new_one(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n")
    ConfigHistory(path, "a: 1\n# the same\n", 2).write()
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
    ConfigHistory(path, "a: 2\n", 2).write()
    assert path.read_text() == "a: 2\n"
    assert (tmp_path / "config-until-iteration-000002.yaml").read_text() == "a: 1\n"
    ConfigHistory(path, "a: 3\n", 2).write()
    assert len(list(tmp_path.glob("config-until-iteration-000002*.yaml"))) == 2


# --- data ------------------------------------------------------------------------------------------------------------


class Rows(Task):
    name = "rows"

    def __init__(self, rows: list[tuple[str, str]], endless: bool = False) -> None:
        self.rows, self.endless = rows, endless

    def problem(self, split, index):
        question, answer = self.rows[index % len(self.rows)]
        message = {"role": "user", "content": question}
        return Problem(f"rows/{index}", [message], answer, {"solution": answer}, {"tests": {"x": {1}}})

    def size(self, split):
        return None if self.endless else len(self.rows)


ROWS = [("1+1", "2"), ("2+2", "4"), ("3+3", "6"), ("4+4", "8")]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (ROWS, []),
        (ROWS[:2], ["the train split had 4 problems and has 2", "the val split had 4 problems and has 2"]),
        (ROWS[::-1], ["other problems, or the same in another order"] * 2),
        ([*ROWS[:3], ("4+4", "9")], ["other problems, or the same in another order"] * 2),
    ],
    ids=["the same", "halved", "reversed", "one answer changed"],
)
@pytest.mark.parametrize("endless", [False, True])
def test_other_data_is_told_by_its_fingerprint(tmp_path, now, words, endless):
    record(tmp_path, fingerprint(Rows(ROWS, endless)))
    found = differences(tmp_path, fingerprint(Rows(now, endless)))
    assert len(found) == len(words)
    if not endless:
        assert all(word in text for word, text in zip(words, found, strict=True))


def test_a_run_without_a_recorded_fingerprint_is_not_refused(tmp_path):
    assert differences(tmp_path, fingerprint(Rows(ROWS))) == []


def test_a_fingerprint_does_not_depend_on_addresses_or_on_the_order_of_sets():
    problem = Rows(ROWS).problem("train", 0)
    problem.metadata["tests"]["object"] = object()
    assert described(problem) == (
        '["rows/0", [{"content": "1+1", "role": "user"}], "2", {"solution": "2"}, '
        '{"tests": {"object": "object", "x": "set"}}]'
    )
