"""Where a training step waits for the device, if there is one: nowhere of its own accord."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from rlsd_pl.models import LoRA
from rlsd_pl.objectives import OPSD, RLSD, RLVR, SDPG
from rlsd_pl.types import PaddedTokens
from tests.harness import TRAINER, data, module
from tests.tracking import Waits

MASKS = 2
"""What transformers reads of the attention mask for a batch of padded prompts: whether it is all ones, and whether it
is up to the last query."""
FINITE = 1
"""Per update: whether its gradient is finite decides if it is made."""


class Watch(Callback):
    """Counts from the start of each training step to the end of its update."""

    def __init__(self) -> None:
        self.counted: list[Counter[str]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        # What moving to a device finds out before: see the test of it below.
        rows = batch.batch
        distilled = [] if rows.distillation is None else [rows.distillation.prompts]
        for padded in (rows.prompts, rows.completions, *distilled):
            assert len(padded.places)
            assert padded.different
        self.waits = Waits().__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.waits.__exit__(None, None, None)
        self.counted.append(self.waits.counts)


@pytest.mark.parametrize(
    ("objective", "lora", "forwards"),
    [(RLVR(), 0, 1), (RLVR(), 2, 1), (RLSD(), 0, 1), (OPSD(), 0, 2), (SDPG(), 0, 2)],
    ids=["rlvr", "rlvr with adapters", "rlsd", "opsd", "sdpg"],
)
def test_a_step_waits_for_what_transformers_reads_and_an_update_once_more(tiny_model, objective, lora, forwards):
    watch = Watch()
    trainer = Trainer(**{**TRAINER, "max_epochs": 1}, callbacks=[watch], gradient_clip_val=1.0)
    trainer.fit(module(tiny_model, objective, lora=LoRA(r=lora)), data(micro_batch_size=8))
    steps = [step.total() for step in watch.counted]
    assert len(steps) == 2
    assert steps[0] <= forwards * MASKS, watch.counted
    assert steps[1] <= forwards * MASKS + FINITE, watch.counted
    assert steps[1] >= FINITE, "the counting works"


def test_what_depends_on_values_is_known_before_tokens_move():
    tokens = PaddedTokens.prompts([[7, 8], [9], [7, 8], [5, 9]], 0)
    moved = tokens.to("meta")
    first, which = vars(moved)["different"]
    assert {vars(moved)["places"].device.type, first.device.type, which.device.type} == {"meta"}
    assert vars(moved)["places"].shape == (7,)
    assert (len(first), len(which)) == (3, 4)
    assert tokens.places.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert tokens.ids[tokens.different[0]][tokens.different[1]].tolist() == tokens.ids.tolist()


def test_all_that_makes_python_wait_is_counted():
    numbers, mask = torch.arange(4.0), torch.tensor([True, False, True, False])
    with Waits() as waits:
        assert bool(numbers.sum() > 3)
        assert numbers[1].item() == 1
        numbers[mask]
        numbers[mask] = 0.0
        mask.nonzero()
        numbers.masked_select(mask)
        torch.unique(numbers)
        numbers.tolist()
        numbers.cpu()
        numbers[torch.tensor([0, 1])]
        numbers + 1
    assert waits.counts == {
        "_local_scalar_dense": 2,
        "a mask as an index": 2,
        "nonzero": 1,
        "masked_select": 1,
        "_unique2": 1,
        "tolist": 1,
        "cpu": 1,
    }
