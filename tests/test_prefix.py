"""Equal prompts are encoded once, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from rlsd_pl.models import LoRA
from rlsd_pl.policy import Policy
from rlsd_pl.prefix import distinct
from rlsd_pl.rollout.micro_batches import RowLengths, cut, cut_by_tokens, divided
from rlsd_pl.types import PaddedTokens

PROMPTS = [[7, 8, 9], [20, 21, 22, 23, 24, 25], [7, 8, 9], [40], [7, 8, 9], [40]]
COMPLETIONS = [[50, 51, 52, 1], [60, 1], [70, 71, 72, 73, 74, 75, 1], [80, 81, 1], [1], [82, 83]]
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokens() -> tuple[PaddedTokens, PaddedTokens]:
    return PaddedTokens.prompts(PROMPTS, 0), PaddedTokens.completions(COMPLETIONS, 0)


def scored(policy: Policy, shared: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probs, and gradients of a weighted sum of them."""
    policy.caches_prompts = shared
    policy.zero_grad()
    logprobs = policy(*tokens(), 0.9).logprobs
    weights = torch.linspace(-1, 1, logprobs.numel()).view(logprobs.shape)
    (logprobs * weights).sum().backward()
    return logprobs.detach(), {n: p.grad.clone() for n, p in policy.trainable().items() if p.grad is not None}


def other(kind: str, policy: Policy) -> Policy:
    torch.manual_seed(0)
    vocabulary = policy.causal_lm.config.vocab_size
    if kind == "llama":
        return Policy(LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SHAPE)), policy.tokenizer)
    config = MistralConfig(vocab_size=vocabulary, sliding_window=4, num_key_value_heads=1, **SHAPE)
    return Policy(MistralForCausalLM(config), policy.tokenizer)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "sliding"])
def test_values_and_gradients_are_those_of_the_plain_path(policy, kind):
    model = policy if kind == "qwen3" else other(kind, policy)
    plain, plain_gradients = scored(model, shared=False)
    shared, gradients = scored(model, shared=True)
    assert torch.allclose(shared, plain, atol=1e-5)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, plain_gradients[name], atol=1e-5), name


@torch.no_grad()
def test_sharded_the_layers_are_called_equally_often_however_short_completions_are(policy):
    calls: list[int] = []
    policy.causal_lm.get_decoder().register_forward_hook(lambda *_: calls.append(1))
    prompts = PaddedTokens.prompts(PROMPTS, 0)
    for completions in (COMPLETIONS, [[row[0]] for row in COMPLETIONS]):
        padded = PaddedTokens.completions(completions, 0)
        policy.sharded = False
        plain = policy(prompts, padded, 0.9).logprobs
        calls.clear()
        policy.sharded = True
        assert torch.equal(policy(prompts, padded, 0.9).logprobs, plain)
        assert len(calls) == 2


def test_with_adapters_too(tiny_model):
    policy = Policy.from_pretrained(str(tiny_model), lora=LoRA(r=4))
    torch.manual_seed(1)
    for parameter in policy.trainable().values():
        torch.nn.init.normal_(parameter, std=0.1)
    plain, plain_gradients = scored(policy, shared=False)
    shared, gradients = scored(policy, shared=True)
    assert torch.allclose(shared, plain, atol=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, plain_gradients[name], atol=1e-5), name


def test_the_teachers_states_too(policy):
    policy.caches_prompts = False
    plain = policy.teacher_states(*tokens(), own_head=True).hidden
    policy.caches_prompts = True
    assert torch.allclose(policy.teacher_states(*tokens(), own_head=True).hidden, plain, atol=1e-5)


def test_positions_that_are_computed(policy, monkeypatch):
    """Three different prompts padded to 6, six completions padded to 7 of which the last token predicts nothing."""
    computed = []
    decoder = policy.causal_lm.get_decoder()
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda **k: (computed.append(k["input_ids"].numel()), forward(**k))[1])
    policy(*tokens(), 1.0)
    assert computed == [3 * 6, 6 * 6]


@pytest.mark.parametrize(
    ("lora", "checkpointing", "gradients", "shares"),
    [
        (LoRA(), False, True, True),
        (LoRA(r=2, dropout=0.1), False, True, False),  # rows of one prompt are dropped differently
        (LoRA(r=2, dropout=0.1), False, False, False),
        (LoRA(), True, True, False),  # transformers refuse a cache there
        (LoRA(), True, False, True),
    ],
)
def test_where_it_cannot_be_it_is_not(tiny_model, lora, checkpointing, gradients, shares):
    policy = Policy.from_pretrained(str(tiny_model), lora=lora, gradient_checkpointing=checkpointing)
    assert policy.shares_prefixes(gradients) is shares
    policy.eval()
    assert policy.shares_prefixes(gradients) is True


def test_sharded_it_is_for_forwards_without_gradient(policy):
    policy.sharded = True
    assert [policy.shares_prefixes(gradients) for gradients in (True, False)] == [False, True]


def test_different_prompts_are_told_apart_though_their_padding_is_a_token():
    prompts = PaddedTokens.prompts([[0, 5], [5], [0, 5]], 0)
    found, rows = distinct(prompts)
    assert len(found.ids) == 2
    assert rows[0] == rows[2] != rows[1]
    assert found.mask[rows].tolist() == prompts.mask.tolist()


# --- micro-batches ----------------------------------------------------------------------------------------------------


def lengths(prompts: list[int], completions: list[int], which: list[int]) -> RowLengths:
    return RowLengths(torch.tensor(prompts), torch.tensor(completions), torch.tensor(which))


def test_long_prompts_keep_groups_together():
    rows = lengths([100, 100, 90, 90], [3, 9, 4, 8], [0, 0, 1, 1])
    parts = cut(torch.arange(4), 2, rows)
    assert [part.tolist() for part in parts] == [[2, 3], [0, 1]]
    # By prompt 90 + 2 * 8 + 100 + 2 * 9; by length the micro-batches (2, 3) and (0, 1) are the same here.
    assert sum(map(rows.computed, parts)) == 90 + 16 + 100 + 18


def test_completions_of_many_lengths_are_sorted_by_length():
    rows = lengths([2, 2, 2, 2], [10, 90, 12, 88], [0, 0, 1, 1])
    parts = cut(torch.arange(4), 2, rows)
    assert [sorted(part.tolist()) for part in parts] == [[0, 2], [1, 3]]
    assert sum(map(rows.computed, parts)) == (2 * 2 + 2 * 12) + (2 * 2 + 2 * 90)


def test_every_row_is_in_one_micro_batch_and_padding_is_counted():
    rows = lengths([5, 5, 3, 3], [1, 4, 2, 2], [0, 0, 1, 1])
    parts = cut(torch.tensor([3, 1, 0, 2]), 4, rows)
    assert sorted(torch.cat(parts).tolist()) == [0, 1, 2, 3]
    # Two prompts padded to 5, four completions padded to 4: 26 positions, of which 5 + 3 + 1 + 4 + 2 + 2 = 17 are real.
    assert (rows.real(parts[0]), rows.computed(parts[0])) == (17, 26)


def test_a_token_budget_holds_and_a_longer_row_stands_alone():
    rows = lengths([2, 2, 2, 2, 2], [3, 3, 3, 3, 30], [0, 0, 1, 1, 2])
    parts = cut_by_tokens(torch.arange(5), 14, rows)
    # Two completions of one prompt compute 2 + 2 * 3 = 8 positions, four of two prompts 4 + 12 = 16.
    assert [sorted(part.tolist()) for part in parts] == [[0, 1, 2], [3], [4]]
    assert [rows.computed(part) for part in parts] == [2 * 2 + 3 * 3, 2 + 3, 2 + 30]


def test_micro_batches_are_halved_until_there_are_enough():
    parts = divided([torch.arange(5), torch.arange(5, 6)], 4)
    assert [part.tolist() for part in parts] == [[0, 1], [2], [3, 4], [5]]
