import json

import pytest

from rlsd_pl.lab import ChainTask, ChainWorld


def expressions(task, split, count):
    return [task.problem(split, index).prompt for index in range(count)]


def test_a_problem_depends_on_seed_split_and_index_only():
    task, twin = ChainTask(seed=3), ChainTask(seed=3)
    twin.problem("train", 99)
    assert task.problem("train", 7) == twin.problem("train", 7)
    assert task.problem("train", 7) != task.problem("train", 8)
    assert expressions(task, "train", 20) != expressions(ChainTask(seed=4), "train", 20)


def test_validation_never_occurs_in_training_under_any_seed():
    # Three operands make a world small enough for collisions to be certain if the splits were not disjoint.
    world = ChainWorld(operands=3)
    validation = {text for seed in range(3) for text in expressions(ChainTask(world, seed), "val", 512)}
    training = {text for seed in range(3) for text in expressions(ChainTask(world, seed), "train", 4000)}
    assert len(validation) > 300
    assert not validation & training


def test_problem_carries_truth_and_privileged_texts():
    task = ChainTask(ChainWorld(operands=5))
    problem = task.problem("val", 0)
    values = problem.privileged["solution"].split(",")
    assert problem.id == "chain/val/0"
    assert len(values) == 4
    assert problem.answer == problem.privileged["answer"] == values[-1]
    assert problem.metadata["expression"] == problem.prompt
    assert set(problem.metadata["misconceptions"]) == set(task.world.wrong_results)


def test_metadata_is_plain_data():
    problem = ChainTask().problem("train", 0)
    assert json.loads(json.dumps(dict(problem.metadata)))["expression"] == problem.prompt


def test_sizes_and_bounds():
    task = ChainTask(val_size=4)
    assert task.size("val") == 4
    assert task.size("train") is None
    with pytest.raises(IndexError, match=r"expected 0\.\.3"):
        task.problem("val", 4)
    with pytest.raises(IndexError):
        task.problem("train", -1)
    with pytest.raises(ValueError, match="got split 'test'"):
        task.problem("test", 0)
    with pytest.raises(ValueError, match="val_size"):
        ChainTask(val_size=0)
