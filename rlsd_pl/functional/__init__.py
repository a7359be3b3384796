"""The pure tensor mathematics of the project: torch only, one formula per function, each with its source.

Shapes: P prompts, G completions per prompt, B = P * G, T completion tokens, V vocabulary. Masks are bool or 0/1.
"""

from rlsd_pl.functional.advantages import (
    batch_normalized_advantages,
    group_centered_advantages,
    group_normalized_advantages,
    leave_one_out_advantages,
    signal_free_groups,
)
from rlsd_pl.functional.credit import (
    distillation_credit,
    rlcsd_bonus,
    rlcsd_credit,
    rlcsd_selection,
    rlrt_all_credit,
    rlrt_credit,
    rlsd_credit,
    rlsd_negative_only_credit,
    rlsd_one_sided_credit,
    sdar_gate,
    sdar_term,
)
from rlsd_pl.functional.divergences import generalized_jsd, topk_indices, topk_renormalized_jsd, topk_tail_jsd
from rlsd_pl.functional.evidence import (
    contrastive_evidence,
    evidence_clip_fraction,
    evidence_delta,
    evidence_weight,
    one_sided_evidence_weight,
)
from rlsd_pl.functional.kl import kl_k1, kl_k2, kl_k3
from rlsd_pl.functional.leakage import length_drift, sampled_teacher_kl
from rlsd_pl.functional.logprobs import DistributionTerm, Head, token_scores
from rlsd_pl.functional.masking import masked_mean, masked_sum
from rlsd_pl.functional.pass_at_k import pass_at_k
from rlsd_pl.functional.reduction import (
    reduce,
    sequence_count,
    sequence_mean_weights,
    sequence_sum_weights,
    token_count,
    token_mean_weights,
)
from rlsd_pl.functional.schedules import constant, cosine_decay, linear_decay
from rlsd_pl.functional.statistics import MeanInterval, mean_interval, student_t_quantile
from rlsd_pl.functional.surrogates import (
    cispo_loss,
    clip_fraction,
    clip_indicator,
    dual_clip_ppo_loss,
    gspo_loss,
    ppo_clip_loss,
    reinforce_loss,
    truncated_importance_weights,
)
from rlsd_pl.functional.truncation import soft_overlong_penalty

__all__ = [
    "DistributionTerm",
    "Head",
    "MeanInterval",
    "batch_normalized_advantages",
    "cispo_loss",
    "clip_fraction",
    "clip_indicator",
    "constant",
    "contrastive_evidence",
    "cosine_decay",
    "distillation_credit",
    "dual_clip_ppo_loss",
    "evidence_clip_fraction",
    "evidence_delta",
    "evidence_weight",
    "generalized_jsd",
    "group_centered_advantages",
    "group_normalized_advantages",
    "gspo_loss",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "leave_one_out_advantages",
    "length_drift",
    "linear_decay",
    "masked_mean",
    "masked_sum",
    "mean_interval",
    "one_sided_evidence_weight",
    "pass_at_k",
    "ppo_clip_loss",
    "reduce",
    "reinforce_loss",
    "rlcsd_bonus",
    "rlcsd_credit",
    "rlcsd_selection",
    "rlrt_all_credit",
    "rlrt_credit",
    "rlsd_credit",
    "rlsd_negative_only_credit",
    "rlsd_one_sided_credit",
    "sampled_teacher_kl",
    "sdar_gate",
    "sdar_term",
    "sequence_count",
    "sequence_mean_weights",
    "sequence_sum_weights",
    "signal_free_groups",
    "soft_overlong_penalty",
    "student_t_quantile",
    "token_count",
    "token_mean_weights",
    "token_scores",
    "topk_indices",
    "topk_renormalized_jsd",
    "topk_tail_jsd",
    "truncated_importance_weights",
]
