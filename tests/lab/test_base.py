"""The shipped bases still do what their model cards say."""

import json
import re
from math import sqrt
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlsd_pl.commands.cli import build
from rlsd_pl.lab import ChainTask, ChainWorld, Demonstrator
from rlsd_pl.lab.measure import complete, measure
from rlsd_pl.models import resolve
from rlsd_pl.policy import Policy
from rlsd_pl.types import PaddedTokens

BASES = {
    "lab": (Demonstrator(), 256),
    "lab-long": (Demonstrator(ChainWorld(operands=16), filler=5), 64),
}
"""Who wrote a base's demonstrations, and the held-out problems to measure it on."""


@pytest.fixture(scope="module", params=BASES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name):
    return Path(resolve(name))


@pytest.fixture(scope="module")
def base(folder):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def problems(name):
    demonstrator, count = BASES[name]
    task = ChainTask(demonstrator.world)
    return [task.problem("val", index) for index in range(count)]


@pytest.fixture(scope="module")
def card(folder):
    """(hint, decoding) -> (accuracy, hollow rate), read from the card's table."""
    rows = re.findall(
        r"^\| (none|solution|answer) \| (greedy|sampled) \| (0\.\d+|1\.0+) \| (0\.\d+|1\.0+) \|$",
        (folder / "README.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    return {(hint, decoding): (float(accuracy), float(hollow)) for hint, decoding, accuracy, hollow in rows}


@pytest.mark.parametrize(("hint", "sample"), [(None, False), (None, True), ("solution", False)])
def test_measured_accuracy_is_the_cards(base, card, name, problems, hint, sample):
    accuracy, hollow = card[hint or "none", "sampled" if sample else "greedy"]
    tokens = BASES[name][0].completion_tokens + 14
    measurement = measure(*base, problems, tokens, hint, sample)
    # Part of the card's problems: four standard deviations, and no tighter than two completions.
    for measured, stated in ((measurement.accuracy, accuracy), (measurement.hollow, hollow)):
        assert abs(measured - stated) < max(4 * sqrt(stated * (1 - stated) / len(problems)), 2.5 / len(problems))


def test_bases_are_wrong_enough_to_learn_and_their_teachers_right(card, name):
    assert len(card) == 6
    low, high = {"lab": (0.5, 0.7), "lab-long": (0.35, 0.6)}[name]
    assert low < card["none", "greedy"][0] < high
    assert low < card["none", "sampled"][0] < high
    assert card["none", "sampled"][1] < 0.03
    assert card["solution", "sampled"][0] > 0.99


def test_completions_end_by_themselves(base, name, problems):
    demonstrator, _ = BASES[name]
    steps, prompts = demonstrator.world.operands - 1, [problem.prompt for problem in problems[:32]]
    texts = complete(*base, prompts, max_tokens=demonstrator.completion_tokens + 14, sample=False)
    written = rf"([@%&]{{{demonstrator.filler}}}\d[-+*]\d=\d;){{{steps}}}#\d"
    assert [text for text in texts if not re.fullmatch(written, text)] == []


def test_bases_are_small_and_in_float32(base, folder):
    model, _ = base
    assert 240_000 < model.num_parameters() < 260_000
    assert model.dtype is torch.float32
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_500_000
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]


@pytest.mark.parametrize("flags", [[], ["--experiment", "lab_long"]])
def test_demonstrations_are_written_as_the_policy_writes(flags, tmp_path):
    cli = build(["--objective", "sft", *flags, "--run_dir", str(tmp_path / "run")])
    policy = Policy.from_pretrained(cli.model.name_or_path)
    for index in range(4):
        problem = cli.datamodule.task.problem("train", index)
        prompt = policy.encode(problem.messages)
        completion = policy.tokenizer.encode(problem.privileged["demonstration"], add_special_tokens=False)
        scores = policy(PaddedTokens.prompts([prompt], 0), PaddedTokens.completions([completion], 0), 1.0)
        # Filler, a third to a half of the tokens, is drawn from three symbols: 1.1 nats. Nearly all else is known.
        assert 0.3 < -scores.logprobs.mean() < 0.8
