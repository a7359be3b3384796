"""What a completion without EOS is worth."""

from __future__ import annotations

from torch import Tensor


def soft_overlong_penalty(lengths: Tensor, max_tokens: int, buffer: int) -> Tensor:
    """0 up to ``max_tokens - buffer``, then linearly down to -1 at ``max_tokens``; added to the reward.

    Source: DAPO, arXiv:2503.14476, equation 13.

    Args:
        lengths: [B] tokens per completion.
        max_tokens: the sampling limit.
        buffer: tokens before the limit over which the penalty grows; in [1, max_tokens].

    Returns:
        [B], in [-1, 0].
    """
    if not 1 <= buffer <= max_tokens:
        raise ValueError(f"buffer is {buffer}, expected 1 to max_tokens={max_tokens}; DAPO has a fifth of the limit")
    return ((max_tokens - buffer - lengths) / buffer).clamp(-1.0, 0.0)
