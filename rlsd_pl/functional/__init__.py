"""Kernels that several parts and rooms share: torch only, one formula per function, each with its source.

Shapes: P prompts, G completions per prompt, B = P * G, K rejected contexts, T completion tokens, V vocabulary, N scored
tokens. Masks are bool or 0/1. What only one method or one part computes is in its own file under
``rlsd_pl.objectives``.
"""

from rlsd_pl.functional.credit import auroc, deciding_tokens, gini, precision_at_k, top_share
from rlsd_pl.functional.divergences import jsd, kl
from rlsd_pl.functional.evidence import contrastive_evidence, evidence_delta
from rlsd_pl.functional.logprobs import DistributionTerm, Head, token_scores
from rlsd_pl.functional.masking import masked_mean, masked_sum
from rlsd_pl.functional.statistics import (
    ShareInterval,
    pass_at_k,
    wilson_interval,
    zero_variance_groups,
)

__all__ = [
    "DistributionTerm",
    "Head",
    "ShareInterval",
    "auroc",
    "contrastive_evidence",
    "deciding_tokens",
    "evidence_delta",
    "gini",
    "jsd",
    "kl",
    "masked_mean",
    "masked_sum",
    "pass_at_k",
    "precision_at_k",
    "token_scores",
    "top_share",
    "wilson_interval",
    "zero_variance_groups",
]
