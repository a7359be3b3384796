"""Model FLOPs against torch's own counter and by hand, and their share of a GPU's peak."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.flop_counter import FlopCounterMode

from rlsd_pl.callbacks import RolloutMetrics, rollout_metrics
from rlsd_pl.models import LoRA
from rlsd_pl.objectives import OPSD, RLSD, RLVR
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.flops import ModelFlops, peak_flops
from rlsd_pl.rollout.micro_batches import RowLengths
from rlsd_pl.types import PaddedTokens
from tests.harness import TRAINER, data, module
from tests.test_rollouts import PROBLEMS, make


def lengths(prompts: list[int], completions: list[int], which: list[int]) -> RowLengths:
    return RowLengths(torch.tensor(prompts), torch.tensor(completions), torch.tensor(which))


ONE_ROW = lengths([5], [7], [0])


def products(policy: Policy, backward: bool) -> int:
    """FLOPs of the products of matrices in a forward, and a backward, of 5 prompt and 7 completion tokens."""
    policy.caches_prompts = False  # that path skips the last token's layers, which predict nothing
    tokens = PaddedTokens.prompts([list(range(20, 25))], 0), PaddedTokens.completions([list(range(30, 37))], 0)
    with FlopCounterMode(display=False) as counter:
        scores = policy(*tokens, 1.0)
        if backward:
            scores.logprobs.sum().backward()
    counted = counter.get_flop_counts()["Global"]
    # The entropy's product of rows (bmm) is none of weights.
    return sum(flops for operation, flops in counted.items() if operation in (torch.ops.aten.mm, torch.ops.aten.addmm))


def test_products_of_matrices_are_those_that_torch_counts(policy):
    model = ModelFlops.of(policy)
    assert model is not None
    assert model._matrices(ONE_ROW) == products(policy, backward=False)
    assert 3 * model._matrices(ONE_ROW) == products(policy, backward=True)
    assert model.update(ONE_ROW) == 3 * model.forward(ONE_ROW)


def test_by_hand_with_a_shared_prompt():
    """Prompts of 3 (twice) and 5 tokens, completions of 4, 2 and 3: 8 and 9 tokens; pairs of query and key: 6 + 15 in
    prompts, 4 * 3 + 10, 2 * 3 + 3 and 3 * 5 + 6 in completions."""
    model = ModelFlops(body=100, head=10, attention=7)
    assert model.forward(lengths([3, 3, 5], [4, 2, 3], [0, 0, 1])) == 200 * 17 + 20 * 9 + 28 * (21 + 22 + 9 + 21)
    assert ModelFlops(100, 10, 7, trained=0.5).update(lengths([1], [1], [0])) == 2.5 * (200 * 2 + 20) + 3 * 28 * 3


def test_adapters_train_a_part_of_the_weights(tiny_model):
    model = ModelFlops.of(Policy.from_pretrained(str(tiny_model), lora=LoRA(r=1)))
    assert model is not None
    # Seven matrices in each of two layers, of which an adapter of rank 1 has a row and a column.
    sizes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]
    adapters = 2 * sum(a + b for a, b in sizes)
    assert model.body == 2 * sum(a * b for a, b in sizes) + adapters
    assert model.trained == pytest.approx(adapters / (model.body + model.head))


def test_mixtures_of_experts_have_no_count(policy):
    policy.causal_lm.config.num_experts = 8
    assert ModelFlops.of(policy) is None
    assert "perf/model_flops" not in make(policy, RLVR()).collect(PROBLEMS, 0, 0).sums


@pytest.mark.parametrize("objective", [RLSD(), OPSD()], ids=["rlsd", "opsd"])
def test_an_iteration_counts_sampling_update_and_each_forward_of_a_teacher(policy, objective):
    plain = make(policy, RLVR()).collect(PROBLEMS, 0, 0)
    model = ModelFlops.of(policy)
    assert model is not None
    own = RowLengths.of(plain.batch.prompts, plain.batch.completions, shared=True)
    assert plain.sums["perf/model_flops"] == (model.forward(own) + model.update(own), 1.0)
    collector = make(policy, objective)
    with_teacher = collector.collect(PROBLEMS, 0, 0)
    ((scorer, scored),) = collector.scorer.passes
    assert scorer is policy
    assert (scored.prompts > own.prompts).any(), "the teacher's prompts"
    assert with_teacher.sums["perf/model_flops"][0] == plain.sums["perf/model_flops"][0] + model.forward(scored)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("NVIDIA RTX 6000 Ada Generation", 364.2e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("Tesla V100-SXM2-16GB", None),
        ("cpu", None),
    ],
)
def test_peaks_by_the_name_that_cuda_gives(name, peak):
    assert peak_flops(name) == peak


class Last(Callback):
    metrics: dict[str, float]

    def on_train_epoch_end(self, trainer, pl_module):
        self.metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("device", ["NVIDIA A100-SXM4-80GB", None])
def test_utilisation_is_logged_where_the_device_is_known(device, tiny_model, monkeypatch):
    if device is not None:
        monkeypatch.setattr(rollout_metrics, "device_name", lambda _: device)
    last = Last()
    trainer = Trainer(**{**TRAINER, "max_epochs": 1}, callbacks=[RolloutMetrics(), last])
    trainer.fit(module(tiny_model, RLVR()), data())
    logged = last.metrics
    if device is None:
        assert "perf/mfu" not in logged
        return
    seconds = logged["perf/rollout_seconds"] + logged["perf/update_seconds"]
    assert logged["perf/mfu"] == pytest.approx(logged["perf/model_flops"] / seconds / 312e12, rel=1e-4)
