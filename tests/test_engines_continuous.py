"""Continuous batching keeps the conventions of the other engines."""

from __future__ import annotations

import threading

import pytest
import torch

from rlsd_pl.engines import ContinuousEngine, GroupedEngine
from rlsd_pl.errors import SetupError
from rlsd_pl.policy import LoRA, Policy
from rlsd_pl.types import Sampling

PROMPTS = [[7, 8, 9], [20, 21, 22, 23, 24, 25], [40]]
LONG = list(range(3, 25))  # more than one page


def fresh(policy: Policy, prompt: list[int], token_ids: tuple[int, ...], temperature: float) -> list[float]:
    """Log-probs of a plain forward."""
    policy.eval()
    with torch.no_grad():
        table = policy.causal_lm(torch.tensor([[*prompt, *token_ids]])).logits[0].div(temperature).log_softmax(dim=-1)
    policy.train()
    return [float(table[len(prompt) + t - 1, token]) for t, token in enumerate(token_ids)]


@pytest.mark.parametrize("sampling", [Sampling(10, 3, temperature=0.8), Sampling(10, 3, top_k=5), Sampling(6, 2, 0.0)])
def test_log_probs_are_those_of_a_fresh_forward(policy, sampling):
    prompts = [*PROMPTS, LONG]
    groups = ContinuousEngine(batch_size=5, page_size=8).generate(policy, prompts, sampling, seed=0)
    assert [len(group) for group in groups] == [sampling.completions] * 4
    for prompt, group in zip(prompts, groups, strict=True):
        for c in group:
            expected = fresh(policy, prompt, c.token_ids, sampling.temperature or 1.0)
            assert list(c.logprobs) == pytest.approx(expected, abs=1e-4)


def test_greedy_completions_are_those_of_the_grouped_engine(policy):
    sampling = Sampling(12, 2, temperature=0.0)
    ours = ContinuousEngine(page_size=8).generate(policy, [*PROMPTS, LONG], sampling, seed=0)
    theirs = GroupedEngine().generate(policy, [*PROMPTS, LONG], sampling, seed=0)
    for mine, other in zip(ours, theirs, strict=True):
        assert [(c.token_ids, c.text, c.truncated) for c in mine] == [(c.token_ids, c.text, c.truncated) for c in other]


def test_a_completion_ends_with_eos_or_at_the_limit(policy):
    with torch.no_grad():  # EOS about every fourth token
        policy.stop_ids = frozenset(range(0, policy.causal_lm.config.vocab_size, 4))
    groups = ContinuousEngine(batch_size=4).generate(policy, PROMPTS, Sampling(6, 8), seed=5)
    completions = [c for group in groups for c in group]
    assert [len(group) for group in groups] == [8, 8, 8]
    assert {c.truncated for c in completions} == {True, False}
    for c in completions:
        assert not set(c.token_ids[:-1]) & policy.stop_ids
        assert c.truncated == (c.token_ids[-1] not in policy.stop_ids)
        assert len(c.token_ids) == 6 or not c.truncated
        assert len(c.logprobs) == len(c.token_ids)


def test_a_seed_decides_the_draw_and_nothing_else_is_changed(policy):
    torch.manual_seed(0)
    before, threads = torch.get_rng_state(), threading.active_count()
    engine = ContinuousEngine(batch_size=4)
    one, same, other = (engine.generate(policy, PROMPTS, Sampling(6, 4), seed=s) for s in (1, 1, 2**62))
    assert one == same
    assert one != other
    assert torch.equal(torch.get_rng_state(), before)
    assert policy.training
    assert threading.active_count() <= threads  # one of another test may have ended


def test_completions_are_handed_over_once_and_as_they_end(policy):
    calls: list[list[tuple[int, object]]] = []
    groups = ContinuousEngine(batch_size=2).generate(
        policy, PROMPTS, Sampling(5, 3), 0, on_finished=lambda finished: calls.append(list(finished))
    )
    seen = [(place, id(c)) for call in calls for place, c in call]
    assert sorted(seen) == sorted((i, id(c)) for i, g in enumerate(groups) for c in g)
    assert len(calls) == 9


def test_first_tokens_of_siblings_are_drawn_one_by_one_from_the_exact_distribution(policy):
    """Siblings fork from one prompt: were they forked behind the first token, a group would share it."""
    prompt = [7, 8, 9]
    (group,) = ContinuousEngine(batch_size=500).generate(policy, [prompt], Sampling(1, 4000), seed=3)
    policy.eval()
    with torch.no_grad():
        exact = policy.causal_lm(torch.tensor([prompt])).logits[0, -1].double().softmax(dim=0)
    probabilities, places = exact.topk(10)
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in group]), minlength=len(exact))[places].double()
    spread = (probabilities * (1 - probabilities) * 4000).sqrt()
    assert ((counts - probabilities * 4000).abs() < 5 * spread).all()


def test_weights_are_read_when_it_is_called_adapters_included(tiny_model):
    policy = Policy.from_pretrained(str(tiny_model), lora=LoRA(r=2))
    engine, sampling = ContinuousEngine(), Sampling(5, 2)
    engine.generate(policy, PROMPTS, sampling, seed=0)
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    for prompt, group in zip(PROMPTS, engine.generate(policy, PROMPTS, sampling, seed=0), strict=True):
        for c in group:
            assert list(c.logprobs) == pytest.approx(fresh(policy, prompt, c.token_ids, 1.0), abs=1e-4)


def test_logits_that_are_not_finite_end_the_run_with_what_to_do(policy):
    with torch.no_grad():
        policy.causal_lm.get_output_embeddings().weight[5] = torch.nan
    with pytest.raises(FloatingPointError, match="earlier"):
        ContinuousEngine().generate(policy, PROMPTS, Sampling(3), seed=0)
    assert policy.training


def test_an_error_of_the_caller_passes_and_the_thread_ends(policy):
    threads = threading.active_count()

    def fail(finished):
        raise KeyError("verifier")

    with pytest.raises(KeyError, match="verifier"):
        ContinuousEngine(batch_size=1).generate(policy, PROMPTS, Sampling(4, 2), 0, on_finished=fail)
    assert threading.active_count() <= threads  # one of another test may have ended


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "value", "words"), [("sharded", True, "sharded"), ("caches_prompts", False, "transformers")]
)
def test_policies_it_cannot_serve_are_refused_with_the_way_out(policy, attribute, value, words):
    ContinuousEngine().bind(policy)
    setattr(policy, attribute, value)
    with pytest.raises(SetupError, match=words):
        ContinuousEngine().bind(policy)


def test_an_attention_without_pages_is_refused(policy):
    policy.causal_lm.config._attn_implementation = "flex_attention"
    with pytest.raises(SetupError, match=r"flex_attention.*sdpa"):
        ContinuousEngine().bind(policy)


def test_mixed_precision_is_refused(policy):
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(SetupError, match="bf16-true"):
        ContinuousEngine().generate(policy, PROMPTS, Sampling(2), seed=0)


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"page_size": 2}])
def test_sizes_are_checked(settings):
    with pytest.raises(ValueError, match="at least"):
        ContinuousEngine(**settings)


def test_a_release_of_transformers_without_pages_is_refused(monkeypatch):
    class Older:
        __dataclass_fields__ = {"block_size": None}

    monkeypatch.setattr("rlsd_pl.engines.continuous.ContinuousBatchingConfig", Older)
    with pytest.raises(SetupError, match=r"expected 5\.19"):
        ContinuousEngine()
