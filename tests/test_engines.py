"""Engines draw from one distribution, record its log-probs and keep the same conventions."""

from __future__ import annotations

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from rlsd_pl.engines import GroupedEngine, TransformersEngine
from rlsd_pl.engines.draw import draw
from rlsd_pl.errors import SetupError
from rlsd_pl.policy import Policy
from rlsd_pl.types import Sampling

PROMPTS = [[7, 8, 9], [20, 21, 22, 23, 24, 25], [40]]
ENGINES = [TransformersEngine(batch_size=4), GroupedEngine(batch_size=4), GroupedEngine()]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- one draw ---------------------------------------------------------------------------------------------------------


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * counts.sum()
    assert (expected > 5).all(), "the statistic needs five expected draws of each"
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("vocabulary", [7, 128, 512])  # one block; one block of 128; two of 256
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_exact_probabilities(vocabulary, temperature):
    logits = torch.linspace(-1.0, 1.0, vocabulary)[torch.randperm(vocabulary, generator=generator(1))]
    rows = 40 * 1000
    drawn = draw(logits.repeat(rows, 1), Sampling(1, temperature=temperature), generator())
    exact = (logits.double() / temperature).softmax(dim=0)
    counts = torch.bincount(drawn.ids, minlength=vocabulary).double()
    # Mean n - 1 and variance 2 (n - 1): five standard deviations.
    freedom = vocabulary - 1
    assert chi_square(counts, exact) < freedom + 5 * (2 * freedom) ** 0.5
    assert torch.allclose(drawn.logprobs.double(), exact.log()[drawn.ids], atol=1e-6)


def test_the_test_of_draws_notices_a_wrong_distribution():
    logits = torch.linspace(-1.0, 1.0, 128)
    drawn = draw(logits.repeat(40_000, 1), Sampling(1, temperature=0.9), generator())
    counts = torch.bincount(drawn.ids, minlength=128).double()
    assert chi_square(counts, logits.double().softmax(dim=0)) > 127 + 5 * 254**0.5


def test_what_has_no_probability_is_never_drawn():
    logits = torch.full((512,), -torch.inf)
    logits[[3, 300]] = 0.0
    drawn = draw(logits.repeat(4000, 1), Sampling(1), generator())
    counts = torch.bincount(drawn.ids, minlength=512)
    assert set(counts.nonzero().flatten().tolist()) == {3, 300}
    assert 1850 < counts[3] < 2150  # 2,000 and about five standard deviations
    assert drawn.logprobs.exp().tolist() == pytest.approx([0.5] * 4000)


def test_truncated_draws_keep_the_log_probs_of_the_whole_distribution():
    logits = torch.tensor([4.0, 3.0, 2.0, 1.0]).repeat(500, 1)
    whole = torch.tensor([4.0, 3.0, 2.0, 1.0]).log_softmax(dim=0)
    top_k = draw(logits.clone(), Sampling(1, top_k=2), generator())
    assert set(top_k.ids.tolist()) == {0, 1}
    assert torch.allclose(top_k.logprobs, whole[top_k.ids], atol=1e-6)
    # Probabilities .644, .237, .087, .032: the first alone stays below .7, two reach it.
    assert set(draw(logits.clone(), Sampling(1, top_p=0.7), generator()).ids.tolist()) == {0, 1}
    greedy = draw(logits.clone(), Sampling(1, temperature=0.0), generator())
    assert greedy.ids.unique().tolist() == [0]
    assert torch.allclose(greedy.logprobs, whole[0].expand(500), atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_give_a_log_prob_that_is_not(bad):
    logits = torch.zeros(2, 8)
    logits[1, 5] = bad
    drawn = draw(logits, Sampling(1), generator())
    assert torch.isfinite(drawn.logprobs).tolist() == [True, False]


# --- engines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [TransformersEngine(10_000), GroupedEngine(10_000)])
def test_ten_thousand_samples_follow_the_exact_probabilities_of_two_tokens(policy, engine):
    """The 12 likeliest pairs of first tokens, and all others together, against their exact probabilities."""
    prompt = [7, 8, 9]
    with torch.no_grad():
        first = policy.causal_lm(torch.tensor([prompt])).logits[0, -1].double().log_softmax(dim=0)
        size = len(first)
        rows = torch.tensor([[*prompt, token] for token in range(size)])
        pairs = first[:, None] + policy.causal_lm(rows).logits[:, -1].double().log_softmax(dim=1)
    for stop in policy.stop_ids:  # an ended completion has no second token
        pairs[stop] = -torch.inf
    probabilities, places = pairs.flatten().exp().topk(12)
    (group,) = engine.generate(policy, [prompt], Sampling(2, 10_000), seed=3)
    drawn = [c.token_ids[0] * size + c.token_ids[1] if len(c.token_ids) == 2 else -1 for c in group]
    counts = torch.tensor([drawn.count(int(place)) for place in places]).double()
    spread = (probabilities * (1 - probabilities) * 10_000).sqrt()
    assert ((counts - probabilities * 10_000).abs() < 5 * spread).all()
    together = float(probabilities.sum())
    assert abs(float(counts.sum()) - 10_000 * together) < 5 * (10_000 * together * (1 - together)) ** 0.5


def test_greedy_completions_are_the_same_by_every_engine(policy):
    first, *others = [
        [g[0] for g in e.generate(policy, PROMPTS, Sampling(12, temperature=0.0), seed=0)] for e in ENGINES
    ]
    for completions in others:
        assert [c.token_ids for c in completions] == [c.token_ids for c in first]
        assert [c.text for c in completions] == [c.text for c in first]
        assert [c.truncated for c in completions] == [c.truncated for c in first]


@pytest.mark.parametrize("engine", ENGINES)
def test_recorded_log_probs_are_those_of_a_fresh_forward(policy, engine):
    groups = engine.generate(policy, PROMPTS, Sampling(24, 6, temperature=0.8), seed=0)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            ids = torch.tensor([[*prompt, *completion.token_ids]])
            with torch.no_grad():
                table = (policy.causal_lm(ids).logits[0] / 0.8).log_softmax(dim=-1)
            expected = [float(table[len(prompt) + t - 1, token]) for t, token in enumerate(completion.token_ids)]
            assert list(completion.logprobs) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_completion_ends_with_eos_or_at_the_limit(policy, engine):
    groups = engine.generate(policy, PROMPTS, Sampling(24, 8), seed=5)
    completions = [c for group in groups for c in group]
    assert [len(group) for group in groups] == [8, 8, 8]
    for c in completions:
        assert not set(c.token_ids[:-1]) & policy.stop_ids
        assert c.truncated == (c.token_ids[-1] not in policy.stop_ids)
        assert len(c.token_ids) == 24 or not c.truncated
        assert len(c.logprobs) == len(c.token_ids)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_seed_decides_the_draw_and_the_global_generator_is_left_alone(policy, engine):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = (engine.generate(policy, PROMPTS, Sampling(8, 2), seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other
    assert torch.equal(torch.get_rng_state(), before)
    assert policy.training, "the mode is as it was"


@pytest.mark.parametrize("engine", ENGINES)
def test_completions_are_handed_over_once(policy, engine):
    seen: list[tuple[int, object]] = []
    groups = engine.generate(policy, PROMPTS, Sampling(10, 3), 0, seen.extend)
    assert sorted((place, id(c)) for place, c in seen) == sorted((i, id(c)) for i, g in enumerate(groups) for c in g)


def test_a_prompt_is_encoded_once_for_its_group(policy, monkeypatch):
    encoded = 0
    forward = policy.causal_lm.get_decoder().forward

    def counted(*args, **kwargs):
        nonlocal encoded
        encoded += kwargs["input_ids"].numel()
        return forward(*args, **kwargs)

    monkeypatch.setattr(policy.causal_lm.get_decoder(), "forward", counted)
    GroupedEngine().generate(policy, [PROMPTS[1]], Sampling(1, 16), seed=0)
    assert encoded == 6


def test_finished_completions_leave_the_batch(policy, monkeypatch):
    """Half of the tokens end a completion, so that rows die out long before the limit."""
    policy.stop_ids = frozenset(range(0, policy.causal_lm.config.vocab_size, 2))
    decoded: list[int] = []
    forward = policy.causal_lm.get_decoder().forward

    def counted(*args, **kwargs):
        decoded.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(policy.causal_lm.get_decoder(), "forward", counted)
    (group,) = GroupedEngine().generate(policy, [PROMPTS[0]], Sampling(40, 64), seed=0)
    lengths = [len(c.token_ids) for c in group]
    running = [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert decoded[0] == 1, "the prompt"
    assert len(decoded) == len(running) + 1
    # Never more than a third beyond the unfinished rows, by COMPACT_BELOW = .75; all 64 without dropping any.
    assert all(left <= rows <= max(left / 0.75, left + 1) for left, rows in zip(running, decoded[1:], strict=True))
    assert running[-1] < 8


def test_a_sliding_window_shorter_than_the_text_is_respected(policy):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=policy.causal_lm.config.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=5,
    )
    sliding = Policy(MistralForCausalLM(config), policy.tokenizer)
    prompts = [list(range(3, 14)), [4, 5, 6]]
    groups = GroupedEngine().generate(sliding, prompts, Sampling(12, 3), seed=0)
    for prompt, group in zip(prompts, groups, strict=True):
        for c in group:
            with torch.no_grad():
                table = sliding.causal_lm(torch.tensor([[*prompt, *c.token_ids]])).logits[0].log_softmax(dim=-1)
            expected = [float(table[len(prompt) + t - 1, token]) for t, token in enumerate(c.token_ids)]
            assert list(c.logprobs) == pytest.approx(expected, abs=1e-4)


def test_a_model_that_remembers_more_than_keys_and_values_is_refused_with_the_way_out(policy):
    policy.caches_prompts = False
    with pytest.raises(SetupError, match="--engine transformers"):
        GroupedEngine().bind(policy)
