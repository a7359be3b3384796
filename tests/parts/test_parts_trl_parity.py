"""The formulas beside TRL's own code: same inputs, equal losses and gradients; differences by design are stated."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives import parts

BETAS = [0.0, 0.3, 0.5, 1.0]
MAX_TOKENS = 9


@pytest.fixture(scope="module")
def grpo_trainer() -> Any:
    return pytest.importorskip("trl", minversion="1.16").GRPOTrainer


@pytest.fixture(scope="module")
def gkd_trainer() -> Any:
    pytest.importorskip("trl", minversion="1.16")
    return pytest.importorskip("trl.experimental.gkd").GKDTrainer


@pytest.fixture(scope="module")
def sdpo() -> Any:
    pytest.importorskip("trl", minversion="1.16")
    return pytest.importorskip("trl.experimental.sdpo.loss_utils")


def assert_equal_losses_and_gradients(ours: Tensor, theirs: Tensor, leaf: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0] for loss in (ours, theirs)]
    assert gradients[1].abs().max() > 1e-4
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def random_logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, 20, 30, generator=generator)
    return student.requires_grad_(), teacher


@pytest.mark.parametrize("beta", BETAS)
def test_generalized_jsd_is_that_of_gkd(gkd_trainer: Any, beta: float):
    student, teacher = random_logits()
    theirs = gkd_trainer.generalized_jsd_loss(student, teacher, beta=beta, temperature=0.7, reduction="none").sum(-1)
    assert_equal_losses_and_gradients(parts.GeneralizedJSD(beta)(student / 0.7, teacher / 0.7), theirs, student)


def test_gkd_leaves_the_teacher_attached_and_we_do_not(gkd_trainer: Any):
    student, teacher = random_logits()
    teacher.requires_grad_()
    theirs = gkd_trainer.generalized_jsd_loss(student, teacher, reduction="sum")
    assert torch.autograd.grad(theirs, teacher)[0].any()
    (gradient,) = torch.autograd.grad(parts.GeneralizedJSD(0.5)(student, teacher).sum(), teacher, allow_unused=True)
    assert gradient is None


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(
    ("add_tail", "divergence"), [(True, parts.TopKTail), (False, parts.TopKRenormalized)], ids=["tail", "no tail"]
)
def test_topk_divergences_are_those_of_sdpo(sdpo: Any, add_tail: bool, divergence: type, beta: float):
    student, teacher = random_logits()
    theirs = sdpo.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=5, distillation_alpha=beta, distillation_add_tail=add_tail
    )
    assert_equal_losses_and_gradients(divergence(beta, k=5)(student, teacher), theirs, student)


def test_of_a_certain_student_our_tail_is_exact_and_theirs_is_floored(sdpo: Any):
    student, teacher = torch.tensor([[20.0, 19.0, 18.0, -3.0, -3.0]]), torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]])
    exact = parts.TopKTail(0.0, 3)(student.double(), teacher.double())
    ours = parts.TopKTail(0.0, 3)(student, teacher)
    theirs = sdpo.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=3, distillation_alpha=0.0, distillation_add_tail=True
    )
    assert (ours.double() - exact).abs().item() < 1e-5
    assert (theirs.double() - exact).abs().item() > 1


def test_sampled_distillation_is_reinforce_on_the_evidence(sdpo: Any):
    student, teacher = random_logits()
    ids = torch.arange(20) % 30
    theirs = sdpo.compute_sampled_token_self_distillation_loss(
        student[None], teacher[None], ids[None], distillation_alpha=1.0
    )
    policy, reference = (logits.log_softmax(-1).gather(-1, ids[:, None]).T for logits in (student, teacher))
    ours = parts.Reinforce()(policy, policy, F.evidence_delta(reference, policy), torch.ones_like(policy))
    assert_equal_losses_and_gradients(ours, theirs, student)


def test_truncated_importance_weights_are_those_of_sdpo(sdpo: Any):
    policy, old, *_ = random_batch()
    theirs = sdpo.apply_importance_sampling_clipping(torch.ones_like(policy), policy, old, 2.0)
    torch.testing.assert_close(parts.TruncatedImportance(2.0)(policy, old), theirs)


def random_batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """policy_logprobs, old_logprobs, reference_logprobs [4, 6], advantages [4] and mask [4, 6]."""
    generator = torch.Generator().manual_seed(1)
    policy = -3 * torch.rand(4, 6, generator=generator)
    old, reference = policy + 0.4 * torch.randn(2, 4, 6, generator=generator)
    mask = torch.arange(6) < torch.tensor([[6], [3], [1], [5]])
    return policy.requires_grad_(), old, reference, torch.tensor([1.5, -0.5, 0.7, -2.0]), mask.long()


def trl_loss(trainer: Any, loss_type: str, level: str = "token", beta: float = 0.0, **options: Any) -> Callable:
    """TRL's own loss computation on given log-probs, with a stand-in for everything around it."""

    def loss(policy: Tensor, old: Tensor, reference: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        settings: dict[str, Any] = {
            "loss_type": loss_type,
            "importance_sampling_level": level,
            "beta": beta,
            "epsilon_low": 0.2,
            "epsilon_high": options.pop("epsilon_high", 0.28),
            "args": SimpleNamespace(delta=options.pop("delta", None), use_bias_correction_kl=False),
            "_get_per_token_logps_and_entropies": lambda *_, **__: (policy, torch.zeros_like(policy), None),
            "accelerator": SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x),
            "model": SimpleNamespace(training=True),
            "_metrics": {"train": defaultdict(list)},
            "max_completion_length": MAX_TOKENS,
            "current_gradient_accumulation_steps": 1,
            "top_entropy_quantile": 1.0,
            "off_policy_mask_threshold": None,
            "use_vllm": False,
            "aux_loss_enabled": False,
            "_entropy_bonus_enabled": False,
        }
        settings["args"].steps_per_generation = 1
        inputs = {
            "prompt_ids": mask[:, :1],
            "prompt_mask": mask[:, :1],
            "completion_ids": mask,
            "completion_mask": mask,
            "advantages": advantages,
            "old_per_token_logps": old,
            "ref_per_token_logps": reference,
            "num_items_in_batch": mask.sum(),
        }
        return trainer._compute_loss(SimpleNamespace(**settings), None, inputs)

    return loss


def test_grpo_is_ppo_clip_with_sequence_means(grpo_trainer: Any):
    policy, old, _, advantages, mask = batch = random_batch()
    loss = parts.PPOClip()(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.SequenceMean()(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, "grpo")(*batch), policy)


@pytest.mark.parametrize("loss_type", ["bnpo", "dapo"])
def test_bnpo_and_dapo_are_ppo_clip_with_token_means(grpo_trainer: Any, loss_type: str):
    policy, old, _, advantages, mask = batch = random_batch()
    loss = parts.PPOClip()(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.TokenMean()(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, loss_type)(*batch), policy)


def test_dr_grpo_is_ppo_clip_over_the_token_limit(grpo_trainer: Any):
    policy, old, _, advantages, mask = batch = random_batch()
    loss = parts.PPOClip()(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.SequenceSum(MAX_TOKENS)(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, "dr_grpo")(*batch), policy)


def test_delta_is_the_dual_clip(grpo_trainer: Any):
    policy, old, _, advantages, mask = batch = random_batch()
    loss = parts.DualClip(dual_clip=1.4)(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.TokenMean()(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, "dapo", delta=1.4)(*batch), policy)


def test_cispo_with_their_cap_as_one_plus_ours(grpo_trainer: Any):
    # TRL's epsilon_high is the cap itself; here the cap is 1 + epsilon_high, as in the paper's clip.
    policy, old, _, advantages, mask = batch = random_batch()
    loss = parts.CISPO(epsilon_high=0.2)(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.TokenMean()(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, "cispo", epsilon_high=1.2)(*batch), policy)


def test_gspo_is_their_sequence_level(grpo_trainer: Any):
    policy, old, _, advantages, mask = batch = random_batch()
    loss = parts.GSPO(0.2, 0.28)(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.SequenceMean()(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, "grpo", level="sequence")(*batch), policy)


def test_their_reference_penalty_is_k3(grpo_trainer: Any):
    policy, old, reference, advantages, mask = batch = random_batch()
    loss = parts.PPOClip()(policy, old, advantages.unsqueeze(1), mask) + 0.3 * parts.K3()(policy, reference)
    ours = parts.TokenMean()(loss, mask)
    assert_equal_losses_and_gradients(ours, trl_loss(grpo_trainer, "dapo", beta=0.3)(*batch), policy)


def test_they_count_completions_without_a_token_and_we_do_not(grpo_trainer: Any):
    # A completion that is masked out (a failed verifier) must not shrink the step that the others make.
    policy, old, reference, advantages, mask = random_batch()
    mask = torch.cat([mask[:3], torch.zeros_like(mask[:1])])
    theirs = trl_loss(grpo_trainer, "grpo")(policy, old, reference, advantages, mask)
    loss = parts.PPOClip()(policy, old, advantages.unsqueeze(1), mask)
    ours = parts.SequenceMean()(loss, mask)
    torch.testing.assert_close(theirs, ours * 3 / 4)


def test_they_add_more_to_the_standard_deviation_than_we_do(grpo_trainer: Any):
    # 1e-4 against 1e-6: rewards of 0 and 1 hardly tell, rewards that differ by little do.
    assert "/ (std_rewards + 1e-4)" in inspect.getsource(grpo_trainer)
    for scale, difference in ((1.0, 3e-4), (1e-3, 0.3)):
        rewards = scale * torch.tensor([[1.0, 0, 0, 1, 0, 0, 0, 0]])
        theirs = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        assert ((parts.GroupNormalized()(rewards) / theirs - 1).abs() < difference).all()
    assert (parts.GroupNormalized()(rewards) / theirs - 1).min() > 0.1
