"""The vLLM engines against a stand-in that speaks vLLM's interface; vLLM itself does not run here."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from transformers import AutoConfig, AutoModelForCausalLM

from rlsd_pl.engines import GroupedEngine, VLLMEngine, VLLMServerEngine
from rlsd_pl.engines.vllm import IN_PROCESS, seeds
from rlsd_pl.engines.weights import MergedWeights
from rlsd_pl.errors import SetupError
from rlsd_pl.objectives import RLVR, TruncatedImportance
from rlsd_pl.policy import LoRA, Policy
from rlsd_pl.types import Sampling
from tests import stand_in_vllm
from tests.harness import TRAINER, data, module
from tests.stand_in_vllm import MADE, Server

PROMPTS = [[7, 8, 9], [20, 21, 22, 23, 24, 25], [40]]


@pytest.fixture
def vllm(monkeypatch):
    """The stand-in in the place of vLLM, and a policy on a GPU that it can do without."""
    stand_in_vllm.install(monkeypatch)
    monkeypatch.setenv(IN_PROCESS, "")  # so that what the engine sets is undone
    del os.environ[IN_PROCESS]
    monkeypatch.setattr("rlsd_pl.engines.vllm.on_gpu", lambda policy: True)
    return MADE


@pytest.fixture
def server(vllm, tiny_model, monkeypatch):
    with Server(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_model))) as serving:
        stand_in_vllm.install(monkeypatch, serving)
        yield serving


@pytest.fixture(params=["colocated", "server"])
def engine(request):
    """A fresh engine of each kind, computing in float32 as the policy does."""
    if request.param == "colocated":
        request.getfixturevalue("vllm")
        return VLLMEngine(dtype="float32")
    return VLLMServerEngine(request.getfixturevalue("server").url)


def fresh(policy: Policy, prompt: list[int], token_ids: tuple[int, ...], temperature: float) -> list[float]:
    """Log-probs of a plain forward."""
    policy.eval()
    with torch.no_grad():
        table = policy.causal_lm(torch.tensor([[*prompt, *token_ids]])).logits[0].div(temperature).log_softmax(dim=-1)
    policy.train()
    return [float(table[len(prompt) + t - 1, token]) for t, token in enumerate(token_ids)]


# --- the conventions of all engines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [Sampling(8, 3, temperature=0.8), Sampling(8, 3, top_k=5), Sampling(6, 2, 0.0)])
def test_log_probs_are_those_of_a_fresh_forward(engine, policy, sampling):
    groups = engine.generate(policy, PROMPTS, sampling, seed=0)
    assert [len(group) for group in groups] == [sampling.completions] * 3
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for c in group:
            expected = fresh(policy, prompt, c.token_ids, sampling.temperature or 1.0)
            assert list(c.logprobs) == pytest.approx(expected, abs=1e-4)
            assert c.text == policy.decode(c.token_ids)


def test_greedy_completions_are_those_of_the_grouped_engine(engine, policy):
    ours = engine.generate(policy, PROMPTS, Sampling(10, 1, temperature=0.0), seed=0)
    theirs = GroupedEngine().generate(policy, PROMPTS, Sampling(10, 1, temperature=0.0), seed=0)
    assert [[c.token_ids for c in group] for group in ours] == [[c.token_ids for c in group] for group in theirs]


def test_a_completion_ends_with_eos_or_at_the_limit(engine, policy):
    policy.stop_ids = frozenset(range(0, policy.causal_lm.config.vocab_size, 4))
    completions = [c for group in engine.generate(policy, PROMPTS, Sampling(5, 6), seed=5) for c in group]
    assert {c.truncated for c in completions} == {True, False}
    for c in completions:
        assert not set(c.token_ids[:-1]) & policy.stop_ids
        assert c.truncated == (c.token_ids[-1] not in policy.stop_ids)
        assert len(c.token_ids) == 5 or not c.truncated


def test_a_seed_decides_the_draw_siblings_differ_and_the_global_generator_is_left_alone(engine, policy):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = (engine.generate(policy, PROMPTS, Sampling(6, 3), seed=s) for s in (1, 1, 2**62))
    assert one == same
    assert one != other
    assert all(len({c.token_ids for c in group}) == 3 for group in one)
    assert torch.equal(torch.get_rng_state(), before)
    assert policy.training


@pytest.mark.parametrize("rescore", [False, True])
def test_completions_are_handed_over_once(engine, policy, rescore):
    engine.rescore = rescore
    seen: list[tuple[int, object]] = []
    groups = engine.generate(policy, PROMPTS, Sampling(5, 3), 0, seen.extend)
    assert sorted((place, id(c)) for place, c in seen) == sorted((i, id(c)) for i, g in enumerate(groups) for c in g)


def test_seeds_leave_room_for_the_index_of_a_sibling():
    drawn = seeds(2**63 - 1, 1000)
    assert len(set(drawn)) == 1000
    assert all(0 <= seed < 2**62 for seed in drawn)
    assert drawn[:3] == seeds(2**63 - 1, 3)


# --- weights ----------------------------------------------------------------------------------------------------------


def with_adapters(tiny_model) -> Policy:
    policy = Policy.from_pretrained(str(tiny_model), lora=LoRA(r=2))
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    return policy


def test_merged_weights_are_those_of_peft(tiny_model):
    policy = with_adapters(tiny_model)
    own = dict(MergedWeights(policy).named_parameters())
    before = {name: p.clone() for name, p in policy.named_parameters()}
    merged = policy.model.merge_and_unload()
    assert own.keys() == dict(merged.named_parameters()).keys()
    for name, parameter in merged.named_parameters():
        assert torch.allclose(own[name], parameter, atol=1e-6), name
    assert any(
        not torch.equal(own[n], before[f"model.base_model.model.{n.replace('.weight', '.base_layer.weight')}"])
        for n in own
        if "q_proj" in n
    )
    cast = dict(MergedWeights(policy, torch.bfloat16).named_parameters())
    assert {tensor.dtype for tensor in cast.values()} == {torch.bfloat16}


def test_adapters_and_new_weights_are_served(engine, tiny_model):
    policy = with_adapters(tiny_model)
    sampling = Sampling(5, 2)
    engine.generate(policy, PROMPTS, sampling, seed=0)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.mul_(1.5)
    engine.weights_changed()
    for prompt, group in zip(PROMPTS, engine.generate(policy, PROMPTS, sampling, seed=0), strict=True):
        for c in group:
            assert list(c.logprobs) == pytest.approx(fresh(policy, prompt, c.token_ids, 1.0), abs=1e-4)


def test_colocated_it_wakes_for_each_call_weights_first(vllm, policy):
    engine = VLLMEngine(dtype="float32")
    engine.bind(policy)
    engine.generate(policy, PROMPTS, Sampling(2), seed=0)
    engine.weights_changed()
    engine.generate(policy, PROMPTS, Sampling(2), seed=0)
    engine.close()
    engine.close()
    call = ["wake weights", "load", "wake kv_cache", "reset cache", "sleep 2"]
    assert [llm.calls for llm in vllm] == [["start", "sleep 2", *call, *call, "shutdown"]]


def test_kept_awake_it_loads_weights_only_when_they_have_changed(vllm, policy):
    engine = VLLMEngine(dtype="float32", sleep=False)
    for _ in range(2):
        engine.generate(policy, PROMPTS, Sampling(2), seed=0)
    engine.weights_changed()
    engine.generate(policy, PROMPTS, Sampling(2), seed=0)
    assert [llm.calls for llm in vllm] == [["start", "load", "reset cache", "load", "reset cache"]]


def test_the_server_gets_weights_when_bound_and_when_they_have_changed(server, policy):
    engine = VLLMServerEngine(server.url)
    engine.weights_changed()  # before it is bound there is nobody to tell
    engine.bind(policy)
    engine.generate(policy, PROMPTS, Sampling(2), seed=0)
    engine.generate(policy, PROMPTS, Sampling(2), seed=0)
    assert server.loads == 1
    engine.weights_changed()
    assert server.loads == 2
    transfer = engine._transfer
    engine.close()
    assert not transfer.open
    assert server.paths == ["/reset_prefix_cache", *["/v1/completions"] * 6, "/reset_prefix_cache"]


def test_what_it_has_no_weights_for_is_an_error(vllm, policy, monkeypatch):
    given = MergedWeights.named_parameters
    monkeypatch.setattr(MergedWeights, "named_parameters", lambda self: list(given(self))[1:])
    with pytest.raises(SetupError, match=r"no weights for 1 .*embed_tokens"):
        VLLMEngine(dtype="float32").generate(policy, PROMPTS, Sampling(2), seed=0)


def test_an_error_of_the_caller_leaves_no_requests_behind(vllm, policy):
    engine = VLLMEngine(dtype="float32")

    def fail(finished):
        raise KeyError("verifier")

    with pytest.raises(KeyError, match="verifier"):
        engine.generate(policy, PROMPTS, Sampling(2, 2), 0, fail)
    assert vllm[0].calls[-1] == "sleep 2"
    assert len(engine.generate(policy, PROMPTS, Sampling(2, 2), 0)) == 3


# --- the mismatch -----------------------------------------------------------------------------------------------------


def test_the_mismatch_is_measured_against_the_policy_and_told_once(vllm, policy):
    engine = VLLMEngine(dtype="bfloat16", checked=1000)
    groups = engine.generate(policy, PROMPTS, Sampling(6, 3), seed=0)
    gaps = [
        abs(x - y)
        for prompt, group in zip(PROMPTS, groups, strict=True)
        for c in group
        for x, y in zip(c.logprobs, fresh(policy, prompt, c.token_ids, 1.0), strict=True)
    ]
    assert max(gaps) > 1e-3, "bfloat16 is seen"
    measured = engine.metrics()
    total, tokens = measured["perf/rollout_mismatch"]
    assert tokens == len(gaps) == 54
    assert total == pytest.approx(sum(gaps), abs=1e-4)
    assert measured["perf/rollout_mismatch_max"] == (pytest.approx(max(gaps), abs=1e-4), 1.0)
    assert engine.metrics() == {}


@pytest.mark.parametrize(("checked", "tokens"), [(0, None), (2, 4), (5, 10)])
def test_as_many_completions_are_checked_as_were_asked_for(vllm, policy, checked, tokens):
    engine = VLLMEngine(dtype="float32", checked=checked)
    engine.generate(policy, PROMPTS, Sampling(2, 3), seed=0)
    assert engine.metrics().get("perf/rollout_mismatch", (0, None))[1] == tokens


def test_rescored_log_probs_are_the_policys_own(vllm, policy):
    engine = VLLMEngine(dtype="bfloat16", rescore=True)
    for prompt, group in zip(PROMPTS, engine.generate(policy, PROMPTS, Sampling(6, 3), seed=0), strict=True):
        for c in group:
            assert list(c.logprobs) == pytest.approx(fresh(policy, prompt, c.token_ids, 1.0), abs=1e-5)
    assert engine.metrics()["perf/rollout_mismatch"][0] > 0, "what was recorded before is compared"


class Metrics(Callback):
    """What each iteration measured."""

    def __init__(self) -> None:
        self.rollouts: list[dict[str, float]] = []
        self.updates: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.rollouts.append(dict(trainer.datamodule.latest_metrics))
        self.updates.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_a_run_logs_the_mismatch_and_weights_its_loss_by_truncated_importance(vllm, tiny_model):
    seen = Metrics()
    objective = RLVR(importance=TruncatedImportance(2.0))
    trainer = Trainer(**TRAINER, callbacks=[seen])
    trainer.fit(module(tiny_model, objective), data(engine=VLLMEngine(dtype="bfloat16")))
    assert len(seen.rollouts) == 2
    for rollout, update in zip(seen.rollouts, seen.updates, strict=True):
        assert 0 < rollout["perf/rollout_mismatch"] < rollout["perf/rollout_mismatch_max"] < 1
        assert 0.9 < update["train/importance"] < 1.1
        assert update["train/importance"] != 1.0
    (llm,) = vllm
    assert llm.calls.count("load") == 2
    assert llm.calls[-1] == "shutdown"


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VLLMEngine, VLLMServerEngine])
def test_without_vllm_the_extra_is_named(policy, monkeypatch, kind):
    monkeypatch.setattr("rlsd_pl.engines.vllm.on_gpu", lambda policy: True)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(SetupError, match=r"pip install 'rlsd_pl\[vllm\]'"):
        kind().bind(policy)


@pytest.mark.parametrize("kind", [VLLMEngine, VLLMServerEngine])
def test_without_a_gpu_and_sharded_it_is_refused_with_the_way_out(policy, kind):
    with pytest.raises(SetupError, match=r"cpu; expected a GPU. Set --engine grouped"):
        kind().bind(policy)
    policy.sharded = True
    with pytest.raises(SetupError, match=r"sharded policy.*--engine grouped"):
        kind().bind(policy)


def test_several_processes_need_a_server(vllm, policy, monkeypatch):
    monkeypatch.setattr("rlsd_pl.engines.vllm.process_count", lambda: 2)
    with pytest.raises(SetupError, match="vllm_server"):
        VLLMEngine().bind(policy)


def test_an_engine_in_another_process_is_refused(vllm, policy, monkeypatch):
    monkeypatch.setenv(IN_PROCESS, "1")
    with pytest.raises(SetupError, match=f"{IN_PROCESS}=1"):
        VLLMEngine().bind(policy)


def test_a_server_that_is_not_there_or_fails_is_told_with_how_to_start_it(server, policy):
    with pytest.raises(SetupError, match=r"No answer from http://127.0.0.1:9/.*vllm serve"):
        VLLMServerEngine("http://127.0.0.1:9").bind(policy)
    engine = VLLMServerEngine(server.url)
    engine.bind(policy)
    server.refuse = "out of memory"
    with pytest.raises(SetupError, match=r"answered 500: .*out of memory.*vllm serve"):
        engine.generate(policy, PROMPTS, Sampling(2), seed=0)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (VLLMEngine, {"gpu_memory_utilization": 1.0}),
        (VLLMEngine, {"checked": -1}),
        (VLLMServerEngine, {"url": "localhost:8000"}),
        (VLLMServerEngine, {"concurrency": 0}),
        (VLLMServerEngine, {"timeout": 0.0}),
    ],
)
def test_settings_are_checked(kind, settings):
    with pytest.raises(ValueError, match=f"engine.{next(iter(settings))}"):
        kind(**settings)
