"""Chunked token scores against the plain formula: values, gradients, and what stays in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlsd_pl import functional as F
from rlsd_pl.objectives.parts import GeneralizedJSD
from rlsd_pl.types import TokenScores

TOKENS, WIDTH, VOCABULARY = 11, 6, 13
CHUNKS = [1, VOCABULARY, 3 * VOCABULARY + 5, 2**24]
TEMPERATURE = 0.7
JSD = GeneralizedJSD(beta=0.5)


class Setup:
    """Student and teacher hidden states with a head each, and random weights to fold the scores into one loss."""

    def __init__(self, dtype: torch.dtype, tokens: int = TOKENS) -> None:
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        self.hidden = torch.randn(tokens, WIDTH, generator=generator, dtype=dtype, requires_grad=True)
        self.ids = torch.randint(VOCABULARY, (tokens,), generator=generator)
        self.teacher_hidden = torch.randn(tokens, WIDTH - 1, generator=generator, dtype=dtype, requires_grad=True)
        self.head = nn.Linear(WIDTH, VOCABULARY, dtype=dtype)
        self.teacher_head = nn.Linear(WIDTH - 1, VOCABULARY, dtype=dtype)
        self.weights = torch.randn(3, tokens, generator=generator, dtype=dtype)

    def plain(self) -> TokenScores:
        logprobs = (self.head(self.hidden) / TEMPERATURE).log_softmax(-1)
        teacher_logits = self.teacher_head(self.teacher_hidden).detach() / TEMPERATURE
        return TokenScores(
            logprobs=logprobs[torch.arange(len(self.ids)), self.ids],
            entropy=-(logprobs.exp() * logprobs).sum(-1),
            divergence=JSD(self.head(self.hidden) / TEMPERATURE, teacher_logits),
        )

    def chunked(self, chunk_elements: int, entropy_gradient: bool = True) -> TokenScores:
        return F.token_scores(
            self.hidden,
            self.head,
            self.ids,
            TEMPERATURE,
            chunk_elements,
            JSD,
            self.teacher_hidden,
            self.teacher_head,
            entropy_gradient,
        )

    def gradients(self, scores: TokenScores) -> tuple[Tensor, ...]:
        assert scores.divergence is not None
        loss = (torch.stack([scores.logprobs, scores.entropy, scores.divergence]) * self.weights).sum()
        return torch.autograd.grad(loss, [self.hidden, *self.head.parameters()])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("chunk_elements", CHUNKS)
def test_values_and_gradients_equal_the_plain_formula(chunk_elements: int, dtype: torch.dtype, tolerance: float):
    setup = Setup(dtype)
    plain, chunked = setup.plain(), setup.chunked(chunk_elements)
    for got, expected in zip(chunked, plain, strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    for got, expected in zip(setup.gradients(chunked), setup.gradients(plain), strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk_elements", [VOCABULARY, 2**24])
def test_gradcheck(chunk_elements: int):
    setup = Setup(torch.float64, tokens=3)
    weight = setup.head.weight

    def scores(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        result = F.token_scores(
            hidden, lambda h: h @ weight.T, setup.ids, TEMPERATURE, chunk_elements, entropy_gradient=True
        )
        return result.logprobs, result.entropy

    assert torch.autograd.gradcheck(scores, (setup.hidden, weight))


@pytest.mark.parametrize("chunk_elements", CHUNKS)
def test_the_teacher_gets_no_gradient(chunk_elements: int):
    setup = Setup(torch.float64)
    divergence = setup.chunked(chunk_elements).divergence
    assert divergence is not None
    divergence.sum().backward()
    assert setup.teacher_hidden.grad is None
    assert all(p.grad is None for p in setup.teacher_head.parameters())
    assert setup.hidden.grad is not None


@pytest.mark.parametrize("chunk_elements", CHUNKS)
def test_entropy_carries_a_gradient_only_if_asked(chunk_elements: int):
    setup = Setup(torch.float64)
    assert setup.chunked(chunk_elements, entropy_gradient=True).entropy.requires_grad
    without = setup.chunked(chunk_elements, entropy_gradient=False)
    assert not without.entropy.requires_grad
    assert without.logprobs.requires_grad
    torch.testing.assert_close(without.entropy, setup.plain().entropy)


def test_under_no_grad_nothing_is_kept():
    setup = Setup(torch.float32)
    with torch.no_grad():
        scores = setup.chunked(VOCABULARY)
    assert not any(score.requires_grad for score in scores if score is not None)


def test_without_a_term_there_is_no_divergence():
    setup = Setup(torch.float32)
    assert F.token_scores(setup.hidden, setup.head, setup.ids, 1.0).divergence is None
    assert F.token_scores(setup.hidden, setup.head, setup.ids, 1.0, VOCABULARY).divergence is None


@pytest.mark.parametrize("chunk_elements", CHUNKS)
def test_no_tokens_keep_the_graph(chunk_elements: int):
    setup = Setup(torch.float32, tokens=0)
    scores = setup.chunked(chunk_elements)
    assert [score.shape for score in scores if score is not None] == [(0,)] * 3
    assert all(not gradient.any() for gradient in setup.gradients(scores))


def test_low_precision_logits_are_scored_in_float32():
    setup = Setup(torch.bfloat16)
    scores = F.token_scores(setup.hidden, setup.head, setup.ids, TEMPERATURE)
    logits = setup.head(setup.hidden).float() / TEMPERATURE
    assert scores.logprobs.dtype == torch.float32
    torch.testing.assert_close(scores.logprobs, logits.log_softmax(-1)[torch.arange(TOKENS), setup.ids])


@pytest.mark.parametrize(("per_chunk", "kept_tokens"), [(1, 4), (2, 2 + 2 + 2 + 1)])
def test_a_chunk_never_has_more_logits_than_allowed_and_the_last_four_are_kept(per_chunk: int, kept_tokens: int):
    setup = Setup(torch.float32)
    rows: list[int] = []
    kept: list[torch.Size] = []

    def head(hidden: Tensor) -> Tensor:
        rows.append(len(hidden))
        return setup.head(hidden)

    def remember(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        scores = F.token_scores(setup.hidden, head, setup.ids, TEMPERATURE, per_chunk * VOCABULARY)
    assert max(rows) == per_chunk
    assert sum(rows) == TOKENS
    weight = torch.Size([WIDTH, VOCABULARY])
    assert sum(shape[0] for shape in kept if shape[-1] == VOCABULARY and shape != weight) == kept_tokens
    scores.logprobs.sum().backward()
    assert sum(rows) == 2 * TOKENS - kept_tokens


@pytest.mark.parametrize("what", ["divergence", "entropy"])
def test_what_keeps_several_tables_per_chunk_is_all_computed_again(what: str):
    setup = Setup(torch.float32)
    kept: list[torch.Size] = []

    def remember(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        if what == "divergence":
            setup.chunked(VOCABULARY, entropy_gradient=False)
        else:
            F.token_scores(setup.hidden, setup.head, setup.ids, 1.0, VOCABULARY, entropy_gradient=True)
    assert all(VOCABULARY not in shape for shape in kept)


def test_one_chunk_is_not_computed_twice():
    setup = Setup(torch.float32)
    rows: list[int] = []

    def head(hidden: Tensor) -> Tensor:
        rows.append(len(hidden))
        return setup.head(hidden)

    F.token_scores(setup.hidden, head, setup.ids, TEMPERATURE).logprobs.sum().backward()
    assert sum(rows) == TOKENS


def test_bad_arguments_say_what_to_set():
    setup = Setup(torch.float32)
    with pytest.raises(ValueError, match=r"temperature is 0.* score greedy samples with 1.0"):
        F.token_scores(setup.hidden, setup.head, setup.ids, 0.0)
    with pytest.raises(ValueError, match="teacher_hidden and teacher_head missing"):
        F.token_scores(setup.hidden, setup.head, setup.ids, 1.0, divergence=JSD)
