"""The shipped base still does what its model card says."""

import json
import re
from math import sqrt

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_pl.lab import BASE_FOLDER, ChainTask
from rlsd_pl.lab.measure import complete, measure

PROBLEMS = [ChainTask().problem("val", index) for index in range(256)]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(BASE_FOLDER), AutoTokenizer.from_pretrained(BASE_FOLDER)


@pytest.fixture(scope="module")
def card():
    """(hint, decoding) -> (accuracy, hollow rate), read from the card's table."""
    rows = re.findall(
        r"^\| (none|solution|answer) \| (greedy|sampled) \| (0\.\d+|1\.0+) \| (0\.\d+|1\.0+) \|$",
        (BASE_FOLDER / "README.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    return {(hint, decoding): (float(accuracy), float(hollow)) for hint, decoding, accuracy, hollow in rows}


@pytest.mark.parametrize(("hint", "sample"), [(None, False), (None, True), ("solution", False)])
def test_measured_accuracy_is_the_cards(base, card, hint, sample):
    accuracy, hollow = card[hint or "none", "sampled" if sample else "greedy"]
    measurement = measure(*base, PROBLEMS, 80, hint, sample)
    # 256 of the card's problems: four standard deviations, and no tighter than two completions.
    for measured, stated in ((measurement.accuracy, accuracy), (measurement.hollow, hollow)):
        assert abs(measured - stated) < max(4 * sqrt(stated * (1 - stated) / len(PROBLEMS)), 2.5 / len(PROBLEMS))


def test_base_is_wrong_enough_to_learn_and_its_teacher_right(card):
    assert len(card) == 6
    assert 0.5 < card["none", "greedy"][0] < 0.65
    assert 0.55 < card["none", "sampled"][0] < 0.7
    assert card["none", "sampled"][1] < 0.02
    assert card["solution", "sampled"][0] > 0.99


def test_completions_end_by_themselves(base):
    texts = complete(*base, [problem.prompt for problem in PROBLEMS[:64]], max_tokens=80, sample=False)
    assert all(re.fullmatch(r"([@%&]{3}\d[-+*]\d=\d;){7}#\d", text) for text in texts)


def test_base_is_small_and_in_float32(base):
    model, _ = base
    assert 240_000 < model.num_parameters() < 260_000
    assert model.dtype is torch.float32
    assert sum(file.stat().st_size for file in BASE_FOLDER.iterdir()) < 1_500_000
    assert json.loads((BASE_FOLDER / "config.json").read_text())["tie_word_embeddings"]
