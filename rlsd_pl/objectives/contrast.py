"""RLCSD's contrast as a plug-in: what a right sibling says beyond wrong ones, in RLSD and in OPSD (2606.11709)."""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.objectives.base import Needs
from rlsd_pl.objectives.opsd import OPSDSampled
from rlsd_pl.objectives.rlsd import RLSD
from rlsd_pl.types import Credit, RolloutBatch, Signal, present


class ContrastRLSD(RLSD):
    """RLSD with Delta_t = sg(log P_T(y_t | x, c+) - log mean_k P_T(y_t | x, w_k)), c+ a right and w_k up to 4 wrong
    siblings: RLCSD's contrast in place of the teacher's evidence.

    What any hint does to style cancels. A completion that lacks a right or a wrong sibling has Delta = 0 and keeps A,
    so a batch without any is RLVR; equal contexts degenerate to RLVR too. The paper says that its contrast goes with
    other methods; that it takes the place of Delta is our reading.

    Args:
        epsilon_w, strength, weighting, span, placement: see :class:`RLSD`, whose defaults they are.
    """

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.CONTRAST)

    def evidence(self, batch: RolloutBatch) -> Tensor:
        return contrast(batch)[0]


class ContrastOPSD(OPSDSampled):
    """A_t = log P_T(y_t | x, c+) - log mean_k P_T(y_t | x, w_k), c+ a right and w_k up to 4 wrong siblings: RLCSD's
    contrast in place of OPSD's advantage on the sampled token; no reward.

    Rewards enter through the choice of siblings alone. A completion that lacks a right or a wrong one is left out of
    the update, and of the count that the loss is divided by. Equal contexts are no signal at all. Our reading of the
    paper, as above; a contrast over the whole vocabulary is not here.
    """

    @property
    def needs(self) -> Needs:
        return super().needs.plus(Signal.CONTRAST)

    def credit(self, batch: RolloutBatch, iteration: int) -> Credit:
        evidence, contrasted = contrast(batch)
        left_out = 1 - contrasted.float().mean().item()
        learnt = batch.loss_mask & contrasted[:, None]
        evidence = self.distillation_scale * evidence
        return Credit(evidence, {"left_out": left_out}, loss_mask=learnt, traces={"evidence": evidence})


def contrast(batch: RolloutBatch) -> tuple[Tensor, Tensor]:
    """Evidence [B, T] of the right context beyond the wrong ones, in nats, 0 without both; bool [B], who has both."""
    teacher, wrong = present(batch.teacher, Signal.TEACHER), present(batch.contrast, Signal.CONTRAST)
    exists = wrong.exists & teacher.has_context[:, None]
    evidence = F.contrastive_evidence(teacher.logprobs, wrong.logprobs, exists)
    return evidence, torch.any(exists, dim=1)
