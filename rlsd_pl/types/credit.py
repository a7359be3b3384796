"""What an objective makes of a rollout, and of one forward of the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Credit:
    """What ``Objective.credit`` makes of a rollout; everything detached.

    Attributes:
        token_advantages: [B, T]; ``None`` for no policy-gradient term.
        metrics: scalars to log, keys ``credit/``.
        distribution_weights: [B], or [B, T] where tokens differ: factor of the distribution term, 0 for what it leaves
            out; ``None`` for no such term.
        loss_mask: bool [B, T] that narrows the batch's: the tokens that are learnt from, and that the reduction counts.
            ``None`` keeps the batch's.
        traces: [B, T] by name, what token credit was made of, for records and credit maps; nothing is learnt from them.
            ``evidence`` (nats) where it is not the teacher's plain log-ratio, and ``weight``, what it was turned into.
    """

    token_advantages: Tensor | None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    distribution_weights: Tensor | None = None
    loss_mask: Tensor | None = None
    traces: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class TokenScores(NamedTuple):
    """What one forward of the policy says of the sampled tokens. A tuple, so that FSDP finds the tensors in it.

    ``functional.token_scores`` gives the same fields flat, [N], for the N tokens under the mask.

    Attributes:
        logprobs: [B, T] log-probs (nats) of the sampled ids, 0 outside the mask.
        entropy: [B, T] entropy (nats) of the predictive distribution, 0 outside the mask.
        divergence: [B, T] of a distribution term, or ``None``.
    """

    logprobs: Tensor
    entropy: Tensor
    divergence: Tensor | None = None


class TokenLoss(NamedTuple):
    """Per-token loss [B, T] (not reduced) and per-token diagnostics [B, T] that are averaged over the loss mask."""

    loss: Tensor
    diagnostics: Mapping[str, Tensor]
