"""Whose weights score, and what is left behind."""

import copy

import pytest
import torch

from rlsd_pl.policy import LoRA, Policy
from rlsd_pl.teachers import (
    EMATeacher,
    ExternalTeacher,
    FrozenTeacher,
    LiveTeacher,
    PeriodicTeacher,
    Snapshot,
)
from rlsd_pl.types import PaddedTokens

BATCH = (PaddedTokens.prompts([[7, 8], [9, 10, 11]], 0), PaddedTokens.completions([[50, 1], [60, 61, 1]], 0))


def perturb(policy, by=0.05):
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(by * torch.randn(parameter.shape))


def weights(policy):
    return {name: p.detach().clone() for name, p in policy.trainable().items()}


def score(teacher, policy):
    with teacher.scoring(policy) as model, torch.no_grad():
        return model(*BATCH, 1.0).logprobs


def test_live_follows_the_policy(policy):
    perturb(policy)
    assert torch.equal(score(LiveTeacher(), policy), policy(*BATCH, 1.0).logprobs)


def test_frozen_keeps_the_initial_policy_and_gives_the_policy_back_bit_for_bit(policy):
    teacher = FrozenTeacher()
    teacher.bind(policy)
    initial = policy(*BATCH, 1.0).logprobs
    perturb(policy)
    trained = weights(policy)
    assert torch.equal(score(teacher, policy), initial)
    assert all(torch.equal(p, trained[name]) for name, p in policy.trainable().items())


def test_frozen_with_adapters_copies_nothing(tiny_model):
    policy = Policy.from_pretrained(str(tiny_model), lora=LoRA(r=2))
    teacher = FrozenTeacher()
    teacher.bind(policy)
    assert not list(teacher.parameters())
    initial = policy(*BATCH, 1.0).logprobs
    perturb(policy, 0.3)
    assert torch.allclose(score(teacher, policy), initial, atol=1e-6)


def test_periodic_refreshes_after_every_nth_iteration(policy):
    teacher = PeriodicTeacher(every=3)
    teacher.bind(policy)
    held = score(teacher, policy)
    for iteration in range(6):
        perturb(policy)
        teacher.after_iteration(policy, iteration)
        if iteration in (2, 5):
            held = policy(*BATCH, 1.0).logprobs
        assert torch.equal(score(teacher, policy), held), iteration


def test_the_copy_lives_in_the_state_dict_and_comes_back_bit_equal(policy):
    teacher = PeriodicTeacher()
    teacher.bind(policy)
    perturb(policy)
    other = PeriodicTeacher()
    other.bind(policy)
    other.load_state_dict(copy.deepcopy(teacher.state_dict()))
    assert torch.equal(score(teacher, policy), score(other, policy))
    assert all(not p.requires_grad for p in teacher.parameters())


def test_only_trainable_tensors_are_copied(tiny_model):
    policy = Policy.from_pretrained(str(tiny_model), lora=LoRA(r=2))
    teacher = PeriodicTeacher()
    teacher.bind(policy)
    assert sum(p.numel() for p in teacher.parameters()) == sum(p.numel() for p in policy.trainable().values())


def test_tensors_are_matched_by_name(policy):
    snapshot = Snapshot()
    snapshot.copy_from(policy)
    next(iter(policy.trainable().values())).requires_grad_(False)
    with pytest.raises(RuntimeError, match="different tensors"), snapshot.swapped_in(policy):
        pass


def test_a_swapped_head_scores_with_the_teachers_weights_after_the_swap(policy):
    teacher = FrozenTeacher()
    teacher.bind(policy)
    initial = policy(*BATCH, 1.0)
    perturb(policy)
    with teacher.scoring(policy) as model:
        states = model.teacher_states(*BATCH, own_head=False)
    logits = states.head(states.hidden)
    expected = logits.log_softmax(-1).gather(1, BATCH[1].ids[BATCH[1].mask][:, None]).squeeze(1)
    assert torch.allclose(expected, initial.logprobs[BATCH[1].mask], atol=1e-5)


def test_period_zero_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        PeriodicTeacher(every=0)


def test_ema_moves_by_its_rate_after_every_iteration(policy):
    teacher = EMATeacher(decay=0.75)
    teacher.bind(policy)
    expected = weights(policy)
    for iteration in range(3):
        perturb(policy)
        current = weights(policy)
        expected = {name: 0.75 * kept + 0.25 * current[name] for name, kept in expected.items()}
        teacher.after_iteration(policy, iteration)
    with teacher.scoring(policy):
        averaged = weights(policy)
    assert all(torch.allclose(averaged[name], kept, atol=1e-6) for name, kept in expected.items())
    assert not all(torch.equal(averaged[name], p) for name, p in policy.trainable().items())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_an_average_that_never_moves_is_refused(decay):
    with pytest.raises(ValueError, match="frozen"):
        EMATeacher(decay)


def test_an_external_teacher_scores_with_its_own_weights_and_stays_out_of_the_checkpoint(policy, tiny_model, tmp_path):
    other = Policy.from_pretrained(str(tiny_model))
    perturb(other)
    other.save_pretrained(tmp_path)
    teacher = ExternalTeacher(str(tmp_path))
    teacher.bind(policy)
    assert torch.allclose(score(teacher, policy), other(*BATCH, 1.0).logprobs, atol=1e-6)
    assert not teacher.state_dict()
    assert not list(teacher.parameters())
    with teacher.scoring(policy) as model:
        states = model.teacher_states(*BATCH, own_head=False)
    assert not states.head(states.hidden).requires_grad


def test_an_external_teacher_of_the_family_may_have_more_rows_and_another_eos(policy, tiny_model, tmp_path):
    other = Policy.from_pretrained(str(tiny_model))
    rows = policy.logits.size
    other.causal_lm.resize_token_embeddings(rows + 7, mean_resizing=False)
    other.published_generation_config.eos_token_id = [1, 0]
    other.save_pretrained(tmp_path)
    teacher = ExternalTeacher(str(tmp_path))
    teacher.bind(policy)
    assert torch.allclose(score(teacher, policy), policy(*BATCH, 1.0).logprobs, atol=1e-6)
    with teacher.scoring(policy) as model:
        states = model.teacher_states(*BATCH, own_head=False)
    assert states.head(states.hidden).shape[-1] == rows
    larger = Policy.from_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=f"{rows} logits, the policy has {rows + 7}"):
        ExternalTeacher(str(tiny_model)).bind(larger)


def test_an_external_teacher_of_another_vocabulary_is_refused(policy):
    with pytest.raises(ValueError, match="same vocabulary"):
        ExternalTeacher("lab").bind(policy)


def test_an_external_teacher_needs_its_weights(policy):
    with pytest.raises(RuntimeError, match="bind"), ExternalTeacher("lab").scoring(policy):
        pass
