"""How evenly token credit is spread within completions, and whether it lands on the tokens that decide."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rlsd_pl import functional as F
from rlsd_pl.policy import Policy
from rlsd_pl.rollout.metrics import LEAST_ADVANTAGE
from rlsd_pl.rollout.sampler import SampledGroups
from rlsd_pl.rollout.spans import verdict_span_masks
from rlsd_pl.types import RolloutBatch
from rlsd_pl.verifiers.base import Verifier

DECIDING = ("decisive", "false")
"""Spans of a verdict that say which tokens decide; whoever marks both has credit held to them."""


def credit_map_sums(
    batch: RolloutBatch, sampled: SampledGroups, policy: Policy, verifier: Verifier
) -> dict[str, tuple[float, float]]:
    """Means over the completions with token credit; keys ``credit/``. Empty for an objective without any.

    Args:
        batch: with credit.
    """
    if batch.token_advantages is None:
        return {}
    sums = concentration_sums(batch)
    if set(DECIDING) <= set(verifier.span_names):
        missing = [name for name in DECIDING if name not in batch.verdict_spans]
        spans = {**batch.verdict_spans, **verdict_span_masks(policy, sampled.rollouts, missing)}
        sums |= alignment_sums(batch, spans)
    return sums


def concentration_sums(batch: RolloutBatch) -> dict[str, tuple[float, float]]:
    """Gini coefficient of |credit| and its share on the top tenth of tokens, of batches with token advantages."""
    magnitudes, rows = _magnitudes(batch), credited_rows(batch)
    return {
        "credit/gini": _total(F.gini(magnitudes, batch.loss_mask), rows),
        "credit/top10_share": _total(F.top_share(magnitudes, batch.loss_mask, 0.1), rows),
    }


def alignment_sums(batch: RolloutBatch, spans: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """AUROC and precision at k of |credit| for the tokens that decide, over completions that have such tokens.

    Args:
        spans: bool [B, T] for each name of :data:`DECIDING`.
    """
    magnitudes, mask = _magnitudes(batch), batch.loss_mask
    deciding = F.deciding_tokens(batch.advantages, *(spans[name] for name in DECIDING))
    rows = credited_rows(batch) & (deciding & mask).any(dim=1) & (~deciding & mask).any(dim=1)
    return {
        "credit/auroc": _total(F.auroc(magnitudes, deciding, mask), rows),
        "credit/precision_at_k": _total(F.precision_at_k(magnitudes, deciding, mask), rows),
    }


def credited_rows(batch: RolloutBatch) -> Tensor:
    """bool [B]: the completions of which some token has credit; a NaN is some."""
    return (~(_magnitudes(batch) <= LEAST_ADVANTAGE) & batch.loss_mask).any(dim=1)


def _magnitudes(batch: RolloutBatch) -> Tensor:
    assert batch.token_advantages is not None
    return batch.token_advantages.abs()


def _total(values: Tensor, rows: Tensor) -> tuple[float, float]:
    return float(values[rows].sum()), float(rows.sum())
