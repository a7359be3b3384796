"""What the benchmarks share: an iteration in its phases, ratios, exponents and the groups of a profile."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from rlsd_pl import objectives
from rlsd_pl.types import Status
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts" / "bench"))


def test_no_script_stands_in_for_a_module_of_python():
    scripts = {path.stem for path in (REPOSITORY / "scripts" / "bench").glob("*.py")}
    assert {"works", "turns", "phases", "profiling", "floor", "growth", "teachers", "startup"} <= scripts
    assert not scripts & sys.stdlib_module_names


def test_an_iteration_in_phases(tmp_path):
    from phases import Phases
    from works import Work, write_model

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 64}
    work = Work("tiny", shape, prompts=2, group=8, prompt_words=3, completion=5)
    model = write_model(work, tmp_path)
    before = None
    for make, forwards in ((objectives.RLVR, 0), (objectives.CEPO, 2), (objectives.OPSD, 1)):
        phases = Phases(work, model, make(), privileged=4)
        phases.iteration()
        collected = phases.collect()
        texts = [rollout.completion.text for rollout in collected.rollouts]
        assert before is None or texts == before, "the weights stay, so all sides sample the same completions"
        before = texts
        assert len(phases.scorer.passes) == forwards
        statuses = {rollout.verdict.status for rollout in collected.rollouts}
        assert statuses == {Status.PASS, Status.FAIL}, "contrast has something to contrast"
        if make is objectives.CEPO:
            # [user] and [end] around four words and the prompt's three, and [assistant].
            assert phases.scorer.passes[0][1].prompts.tolist() == [10] * 16
            assert phases.score(collected).contrast.exists.any()


def test_ratios_are_of_neighbours():
    from turns import ratios

    assert ratios([2.0, 3.0, 8.0], [1.0, 1.0, 2.0]) == "3.00 (2.00 to 4.00)"


def test_exponents_of_the_upper_half():
    from growth import exponent

    assert exponent([1, 2, 4, 8, 16, 32], [5, 5, 48, 3 * 64, 3 * 256, 3 * 1024]) == pytest.approx(2.0)


def test_operations_are_grouped_by_name_and_region():
    from profiling import group

    draw = SimpleNamespace(name="sampling", cpu_parent=None)
    named = {
        "aten::mm": "matrix products",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward": "attention",
        "aten::index_select": "copies and indices",
        "aten::_softmax_backward_data": "softmax and log-probs",
        "aten::silu": "element by element, views",
    }
    for name, title in named.items():
        assert group(SimpleNamespace(name=name, cpu_parent=None)) == title
        assert group(SimpleNamespace(name=name, cpu_parent=draw)) == "drawing tokens"
