"""Log-probs, entropy and divergence of sampled tokens without ever holding all their logits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from rlsd_pl.types import TokenScores

Head = Callable[[Tensor], Tensor]
"""Hidden states [n, H] to logits [n, V]; called once per chunk, so sharded weights have to be gathered before."""

DistributionTerm = Callable[[Tensor, Tensor], Tensor]
"""Student logits [n, V] and teacher logits [n, V], both divided by the temperature, to a divergence [n] in nats."""


KEPT_CHUNKS = 4
"""Chunks whose probabilities stay for the backward, which costs their memory and saves a pass of the head over them."""


def token_scores(
    hidden: Tensor,
    head: Head,
    ids: Tensor,
    temperature: float,
    chunk_elements: int = 2**24,
    divergence: DistributionTerm | None = None,
    teacher_hidden: Tensor | None = None,
    teacher_head: Head | None = None,
    entropy_gradient: bool = False,
) -> TokenScores:
    """What the distribution ``softmax(z)``, ``z = head(hidden) / temperature``, says of the sampled ids.

    ``logP = z_id - logsumexp(z)`` and ``H = logsumexp(z) - sum_v p_v z_v``, in float32 (float64 where the logits are).
    Tokens go through in chunks. Where there are several and gradients are needed, the backward computes the logits of
    all but the last ``KEPT_CHUNKS`` again, so that the peak is a few chunks whatever N and V are.

    Args:
        hidden: [N, H] of the student, at the positions that predict ``ids``.
        head: [n, H] -> [n, V], finite logits.
        ids: int64 [N].
        temperature: of sampling, > 0; divides the logits of both sides.
        chunk_elements: most logits in a chunk (n * V); a chunk has one token at least.
        divergence: a term over the vocabulary; goes with ``teacher_hidden`` and ``teacher_head``.
        teacher_hidden: [N, H'] at the same tokens; gets no gradient.
        teacher_head: [n, H'] -> [n, V].
        entropy_gradient: whether the entropy can be differentiated, as an entropy bonus needs. Off by default: then
            the recomputation in the backward stops before the entropy.

    Returns:
        logprobs, entropy, divergence, each [N], the last ``None`` without a term. N = 0 keeps the graph.

    Raises:
        ValueError: for a temperature of 0, or a divergence without the teacher's states and head.

    >>> head = torch.nn.Linear(2, 3, bias=False)
    >>> scores = token_scores(torch.zeros(4, 2), head, torch.tensor([0, 1, 2, 0]), temperature=1.0)
    >>> scores.logprobs.exp().tolist()  # of 3 tokens, all alike
    [0.333..., 0.333..., 0.333..., 0.333...]
    """
    _check(temperature, divergence, teacher_hidden, teacher_head)
    teacher = None
    if divergence is not None and teacher_head is not None:
        teacher = _TeacherTerm(divergence, teacher_head)
    score = partial(_score_chunk, head, temperature, teacher, entropy_gradient)
    size = max(1, chunk_elements // _vocabulary_size(head, hidden))
    spans = [slice(start, start + size) for start in range(0, max(len(ids), 1), size)]
    chunks = [(hidden[s], ids[s], None if teacher_hidden is None else teacher_hidden[s]) for s in spans]
    if len(chunks) == 1:
        return score(*chunks[0])
    # A divergence and a differentiated entropy keep several tensors [n, V] where log-probs keep one.
    kept = KEPT_CHUNKS if divergence is None and not entropy_gradient else 0
    recomputed = len(chunks) - kept if torch.is_grad_enabled() else 0
    scores = [(_checkpointed(score, *c) if i < recomputed else score(*c)) for i, c in enumerate(chunks)]
    terms = [chunk.divergence for chunk in scores if chunk.divergence is not None]
    return TokenScores(
        logprobs=torch.cat([chunk.logprobs for chunk in scores]),
        entropy=torch.cat([chunk.entropy for chunk in scores]),
        divergence=torch.cat(terms) if terms else None,
    )


class _TeacherTerm(NamedTuple):
    divergence: DistributionTerm
    head: Head


def _score_chunk(
    head: Head,
    temperature: float,
    teacher: _TeacherTerm | None,
    entropy_gradient: bool,
    hidden: Tensor,
    ids: Tensor,
    teacher_hidden: Tensor | None,
) -> TokenScores:
    logits = _tempered_logits(head, hidden, temperature)
    logprobs, probabilities, normalizer = _sampled_logprobs(logits, ids)
    term = None
    if teacher is not None and teacher_hidden is not None:
        with torch.no_grad():
            teacher_logits = _tempered_logits(teacher.head, teacher_hidden, temperature)
        term = teacher.divergence(logits, teacher_logits)
    # Last, because a checkpoint recomputes no further than the gradient needs.
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        if torch.is_grad_enabled():
            probabilities, normalizer = logits.softmax(dim=-1), logits.logsumexp(dim=-1)
        entropy = normalizer - torch.einsum("nv,nv->n", probabilities, logits)
    return TokenScores(logprobs, entropy, term)


class _SampledLogprobs(torch.autograd.Function):
    """``z_id - logsumexp(z)`` with its gradient ``onehot(id) - softmax(z)``. The softmax is computed once, for
    normalizer, entropy and gradient: derivatives of the single operations pass over the logits six times."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        probabilities = logits.softmax(dim=-1)
        # log p = z - normalizer holds at each token; at the likeliest one p cannot underflow.
        normalizer = logits.amax(dim=-1) - probabilities.amax(dim=-1).log()
        ctx.save_for_backward(probabilities, ids)
        ctx.set_materialize_grads(False)  # zeros [n, V] for what has no gradient
        ctx.mark_non_differentiable(probabilities, normalizer)
        return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - normalizer, probabilities, normalizer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:  # pyright: ignore
        if gradients[0] is None:
            return None, None
        probabilities, ids = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(-1)
        return (probabilities * -gradient).scatter_add_(-1, ids.unsqueeze(-1), gradient), None


def _sampled_logprobs(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs [n], differentiable; probabilities [n, V] and normalizers [n], which are not."""
    return cast(tuple[Tensor, Tensor, Tensor], _SampledLogprobs.apply(logits, ids))  # pyright: ignore


def _checkpointed(score: Callable[..., TokenScores], *chunk: Tensor | None) -> TokenScores:
    # Typed in some versions of torch only.
    return checkpoint(score, *chunk, use_reentrant=False)  # pyright: ignore


def _tempered_logits(head: Head, hidden: Tensor, temperature: float) -> Tensor:
    logits = head(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if temperature == 1 else logits / temperature


@torch.no_grad()
def _vocabulary_size(head: Head, hidden: Tensor) -> int:
    return head(hidden.detach()[:0]).shape[-1]


def _check(
    temperature: float,
    divergence: DistributionTerm | None,
    teacher_hidden: Tensor | None,
    teacher_head: Head | None,
) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, expected more than 0; score greedy samples with 1.0")
    missing = [
        name
        for name, value in (
            ("divergence", divergence),
            ("teacher_hidden", teacher_hidden),
            ("teacher_head", teacher_head),
        )
        if value is None
    ]
    if len(missing) in (1, 2):
        raise ValueError(f"{' and '.join(missing)} missing: divergence, teacher_hidden and teacher_head go together")
