"""Scoring and generating agree with the plain formulas, whatever the padding."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from rlsd_pl.engines import TransformersEngine
from rlsd_pl.errors import SetupError
from rlsd_pl.models import LoRA
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, PaddedTokens, Sampling

PROMPTS = [[7, 8, 9], [20, 21, 22, 23, 24, 25], [40]]
COMPLETIONS = [[50, 51, 52, 1], [60, 1], [70, 71, 72, 73, 74, 75, 1]]


def plain_logprobs(policy: Policy, prompt: list[int], completion: list[int], temperature: float) -> torch.Tensor:
    """One row alone, the whole logits, the shift written out."""
    logits = policy.causal_lm(torch.tensor([prompt + completion])).logits[0].float() / temperature
    table = logits.log_softmax(dim=-1)
    return torch.stack([table[len(prompt) + t - 1, token] for t, token in enumerate(completion)])


def batch() -> tuple[PaddedTokens, PaddedTokens]:
    return PaddedTokens.prompts(PROMPTS, 0), PaddedTokens.completions(COMPLETIONS, 0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("logit_chunk", [2**24, 1000])
def test_scores_of_a_padded_batch_are_those_of_each_row_alone(policy, temperature, logit_chunk):
    policy.logit_chunk = logit_chunk
    scores = policy(*batch(), temperature)
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        expected = plain_logprobs(policy, prompt, completion, temperature)
        assert torch.allclose(scores.logprobs[row, : len(completion)], expected, atol=1e-5)
        assert (scores.logprobs[row, len(completion) :] == 0).all()


def test_gradients_of_chunked_scores_are_those_of_the_plain_formula(policy):
    policy.logit_chunk = 1000
    policy(*batch(), 1.0).logprobs.sum().backward()
    chunked = {name: p.grad.clone() for name, p in policy.trainable().items()}
    policy.zero_grad()
    sum(plain_logprobs(policy, p, c, 1.0).sum() for p, c in zip(PROMPTS, COMPLETIONS, strict=True)).backward()
    for name, parameter in policy.trainable().items():
        assert torch.allclose(chunked[name], parameter.grad, atol=1e-4), name


def test_more_padding_changes_nothing(policy):
    prompts, completions = batch()
    wide = PaddedTokens(
        torch.nn.functional.pad(prompts.ids, (5, 0)), torch.nn.functional.pad(prompts.mask, (5, 0), value=False)
    )
    assert torch.allclose(
        policy(prompts, completions, 1.0).logprobs, policy(wide, completions, 1.0).logprobs, atol=1e-5
    )


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_recorded_logprobs_are_the_scored_ones(policy, temperature):
    groups = TransformersEngine(batch_size=4).generate(
        policy, PROMPTS, Sampling(max_tokens=12, completions=3, temperature=temperature), seed=0
    )
    for prompt, group in zip(PROMPTS, groups, strict=True):
        assert len(group) == 3
        for completion in group:
            expected = plain_logprobs(policy, prompt, list(completion.token_ids), temperature)
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_sampling_depends_on_the_seed_alone_and_leaves_the_global_generator(policy):
    engine, sampling = TransformersEngine(), Sampling(max_tokens=8, completions=2)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = engine.generate(policy, PROMPTS, sampling, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert engine.generate(policy, PROMPTS, sampling, seed=5) == first
    assert engine.generate(policy, PROMPTS, sampling, seed=6) != first


@pytest.mark.parametrize("batch_size", [4, 256])
def test_completions_are_handed_over_once_as_they_end(policy, batch_size):
    calls: list[list[tuple[int, Completion]]] = []
    engine = TransformersEngine(batch_size=batch_size)
    returned = engine.generate(policy, PROMPTS, Sampling(40, 16), seed=0, on_finished=lambda f: calls.append(list(f)))
    handed_over = [pair for call in calls for pair in call]
    expected = [(i, completion) for i, group in enumerate(returned) for completion in group]
    assert {(i, id(c)) for i, c in handed_over} == {(i, id(c)) for i, c in expected}
    assert len(handed_over) == len(expected) == 16 * len(PROMPTS)
    if batch_size == 256:
        lengths = [{len(c.token_ids) for _, c in call} for call in calls]
        assert all(len(of_one_step) == 1 for of_one_step in lengths)
        assert len(lengths) > 1, "some of them end before the others"


def test_truncation_is_a_completion_without_eos(policy):
    completions = [c for group in TransformersEngine().generate(policy, PROMPTS, Sampling(4, 8), seed=0) for c in group]
    for completion in completions:
        assert completion.truncated == (completion.token_ids[-1] not in policy.stop_ids)
        assert all(token not in policy.stop_ids for token in completion.token_ids[:-1])
    assert any(c.truncated for c in completions)


def test_a_models_own_sampling_defaults_do_not_bias_the_rollout(tiny_model, tmp_path):
    policy = Policy.from_pretrained(str(tiny_model))
    policy.causal_lm.generation_config.repetition_penalty = 5.0
    again = Policy(policy.causal_lm, policy.tokenizer)
    assert again.causal_lm.generation_config.repetition_penalty in (None, 1.0)
    again.save_pretrained(tmp_path)
    assert Policy.from_pretrained(str(tmp_path)).published_generation_config.repetition_penalty == 5.0


def test_lora_trains_adapters_only_and_exports_merged_weights(tiny_model, tmp_path):
    policy = Policy.from_pretrained(str(tiny_model), lora=LoRA(r=4))
    assert all("lora_" in name for name in policy.trainable())
    with torch.no_grad():
        for name, parameter in policy.trainable().items():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    scores = policy(*batch(), 1.0).logprobs
    with policy.adapters_off():
        base = policy(*batch(), 1.0).logprobs
    assert not torch.allclose(scores, base, atol=1e-3)
    assert torch.allclose(base, Policy.from_pretrained(str(tiny_model))(*batch(), 1.0).logprobs, atol=1e-5)
    policy.save_pretrained(tmp_path)
    merged = Policy(AutoModelForCausalLM.from_pretrained(tmp_path), policy.tokenizer)
    assert torch.allclose(merged(*batch(), 1.0).logprobs, scores, atol=1e-4)


SHAPE = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def random_model(architecture: str, **settings: float) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **SHAPE, **settings))


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("granite", {"logits_scaling": 8.0}),
        ("hyperclovax", {"logits_scaling": 8.0}),  # the same key as Granite's, which it multiplies by
        ("cohere", {"logit_scale": 0.0625}),
        ("falcon_h1", {"lm_head_multiplier": 0.25}),
        ("gemma2", {"final_logit_softcapping": 0.5}),
        ("qwen3_moe", {}),
        ("gpt2", {}),
    ],
)
def test_scores_are_those_of_architectures_that_scale_or_cap_their_logits(policy, architecture, settings):
    own = Policy(random_model(architecture, **settings), policy.tokenizer).eval()
    scores = own(*batch(), 1.0).logprobs
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        expected = plain_logprobs(own, prompt, completion, 1.0)
        assert torch.allclose(scores[row, : len(completion)], expected, atol=1e-5)
    if settings:  # they do something
        bare = own.causal_lm.get_output_embeddings()
        hidden = torch.randn(3, SHAPE["hidden_size"], generator=torch.Generator().manual_seed(0))
        assert not torch.allclose(own.logits(hidden), bare(hidden), rtol=0.05)


def test_a_teacher_that_goes_away_keeps_scale_and_weights(policy):
    own = Policy(random_model("granite", logits_scaling=8.0), policy.tokenizer)
    kept = own.teacher_states(*batch(), own_head=False)
    before = own.logits(kept.hidden)
    with torch.no_grad():
        own.causal_lm.get_output_embeddings().weight.zero_()
    assert torch.equal(kept.head(kept.hidden), before)


def test_a_teacher_that_goes_away_keeps_the_adapters_of_its_output_layer(tmp_path, policy):
    random_model("llama").save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    own = Policy.from_pretrained(str(tmp_path), lora=LoRA(r=4, target_modules=r".*(q_proj|lm_head)"))
    head = own.causal_lm.get_output_embeddings()
    with torch.no_grad():
        head.lora_B["default"].weight.normal_(std=0.1)
    kept = own.teacher_states(*batch(), own_head=False)
    assert torch.allclose(kept.head(kept.hidden), own.logits(kept.hidden), atol=1e-6)
    with own.adapters_off():
        base = own.teacher_states(*batch(), own_head=False)
        expected = own.logits(base.hidden)
    assert torch.equal(base.head(base.hidden), expected)
    assert not torch.allclose(own.logits(base.hidden), expected, atol=1e-3)


def test_logits_that_follow_no_known_formula_are_refused(policy):
    class Shifted(Qwen3ForCausalLM):
        def forward(self, *args, **kwargs):
            found = super().forward(*args, **kwargs)
            found.logits = found.logits + torch.arange(found.logits.shape[-1])
            return found

    model = Shifted(Qwen3Config(**SHAPE))
    with pytest.raises(SetupError, match="The logits of qwen3 are not its output layer"):
        Policy(model, policy.tokenizer)
    assert "forward" not in vars(model.get_decoder())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampling_from_weights_that_are_not_finite_is_an_error_that_says_so(tiny_model, temperature):
    policy = Policy.from_pretrained(str(tiny_model))
    with torch.no_grad():
        policy.causal_lm.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite while sampling"):
        TransformersEngine().generate(policy, PROMPTS, Sampling(4, 2, temperature=temperature), seed=0)
