"""Would the checks notice a wrong kernel? Each mutant is a module with one edit, and some check has to fail for it."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import pytest
import torch
from torch import Tensor, tensor

from tests.mutations import Check, close, gradient, modules_of, mutants, survivors

NAN = math.nan


def check_masking(m: ModuleType) -> None:
    x, mask = tensor([[1.0, NAN], [2.0, 4.0]], requires_grad=True), tensor([[1, 0], [1, 1]])
    close(m.masked_sum(x, mask), 7)
    close(m.masked_sum(x, mask, dim=1), [1, 6])
    close(m.masked_mean(x, mask, dim=1), [1, 3])
    close(m.masked_mean(x[1:], tensor([[1]])), 3)
    empty = m.masked_mean(x, torch.zeros(2, 2))
    close(empty, 0)
    close(gradient(empty, x), torch.zeros(2, 2))


def check_evidence(m: ModuleType) -> None:
    teacher, student = tensor([[-1.0, -2.0]], requires_grad=True), tensor([[-3.0, -1.0]], requires_grad=True)
    delta = m.evidence_delta(teacher, student)
    close(delta, [[2, -1]])
    assert not delta.requires_grad
    positive = tensor([[-1.0], [-1.0]], requires_grad=True)
    contrast = m.contrastive_evidence(positive, tensor([[[-2.0], [-3.0], [-9.0]]] * 2), tensor([[1, 1, 0], [0, 0, 0]]))
    close(contrast, [[-1 - math.log((math.exp(-2) + math.exp(-3)) / 2)], [0]])
    assert not contrast.requires_grad


def check_divergences(m: ModuleType) -> None:
    s, t = [0.5, 0.2, 0.3], [0.1, 0.6, 0.3]
    student, teacher = (tensor([p], dtype=torch.float64).log().requires_grad_() for p in (s, t))

    def kl(p: list[float], q: list[float]) -> float:
        return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))

    mixture = [0.7 * x + 0.3 * y for x, y in zip(s, t, strict=True)]
    close(m.kl(student, teacher), [kl(s, t)])
    for beta, expected in {0: kl(t, s), 1: kl(s, t), 0.3: 0.3 * kl(t, mixture) + 0.7 * kl(s, mixture)}.items():
        divergence = m.jsd(student, teacher, beta)
        close(divergence, [expected])
        assert gradient(divergence, student).any()
        assert gradient(divergence, teacher).any()
    for beta in (-0.1, 1.1, NAN):
        with pytest.raises(ValueError, match="beta"):
            m.jsd(student, teacher, beta)


def check_logprobs(m: ModuleType) -> None:
    hidden = tensor([[0.0, 1.0, 3.0], [1.0, 0.0, -1.0]], requires_grad=True)
    teacher = tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]], requires_grad=True)
    ids = tensor([2, 0])

    def gap(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return (student_logits - 3 * teacher_logits)[:, 1]

    for chunk_elements in (3, 100):
        scores = m.token_scores(hidden, torch.clone, ids, 2.0, chunk_elements, gap, teacher, torch.clone)
        expected = (hidden / 2).log_softmax(-1)
        close(scores.logprobs, expected[[0, 1], ids])
        close(scores.entropy, -(expected.exp() * expected).sum(-1))
        close(scores.divergence, [(1 - 3) / 2, (0 - 6) / 2])
        close(gradient(scores.logprobs, hidden), gradient(expected[[0, 1], ids], hidden))
        assert not scores.entropy.requires_grad
        assert not gradient(scores.divergence, teacher).any()
        bonus = m.token_scores(hidden, torch.clone, ids, 2.0, chunk_elements, entropy_gradient=True).entropy
        close(gradient(bonus, hidden), gradient(-(expected.exp() * expected).sum(-1), hidden))


def check_statistics(m: ModuleType) -> None:
    close(m.pass_at_k(tensor([5, 5, 5]), tensor([0, 2, 4]), 2), [0, 0.7, 1])
    rewards = tensor([[1.0, 0.0, 0.5, NAN], [0.1, 0.1, 0.1, 0.1], [1.0, NAN, NAN, NAN]])
    assert m.zero_variance_groups(rewards - 2, ~rewards.isnan()).tolist() == [False, True, True]
    assert m.zero_variance_groups(tensor([[-1.0, -1.0, NAN]]), tensor([[True, True, False]])).all()
    assert m.zero_variance_groups(tensor([[1.0, NAN]])).tolist() == [False]
    assert m.wilson_interval(0.3, 10) == pytest.approx((0.1077913, 0.6032219), abs=1e-6)


def check_credit(m: ModuleType) -> None:
    x = tensor([[3.0, 1.0, 0.0, 9.0], [2.0, 2.0, 2.0, 2.0], [0.0, 5.0, 0.0, 0.0]])
    mask = tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    close(m.gini(x, mask), [0.5, 0, 0.75])
    close(m.top_share(x, mask, 0.5), [3.5 / 4, 0.5, 1])
    close(m.top_share(tensor([[1.0] * 20]), torch.ones(1, 20)), [0.1])
    positive = tensor([[True, False, True, True], [True, False, False, True], [False, True, True, False]])
    close(m.auroc(x, positive, mask), [0.5, 0.5, 3 / 4])
    close(m.precision_at_k(x, positive, mask), [0.5, 0.5, (1 + 1 / 3) / 2])
    for statistic in (m.gini, m.top_share):
        assert statistic(torch.zeros(1, 3), torch.ones(1, 3)).isnan().all()
    for statistic in (m.auroc, m.precision_at_k):
        assert statistic(x, torch.zeros_like(positive), mask).isnan().all()
    assert m.auroc(x, torch.ones_like(positive), mask).isnan().all()
    for fraction in (0.0, 1.1, NAN):
        with pytest.raises(ValueError, match="fraction"):
            m.top_share(x, mask, fraction)
    decisive, false = tensor([[True, True, False, False]] * 3), tensor([[True, False, True, False]] * 3)
    decides = m.deciding_tokens(tensor([0.5, -0.5, 0.0]), decisive, false)
    assert decides.tolist() == [[False, True, False, False], [True, False, True, False], [False] * 4]


EDITS = {
    "functional/credit": [
        ("2 * ranks - count - 1", "2 * ranks - count"),
        ("2 * ranks - count - 1", "ranks - count - 1"),
        ("device=kept.device) - padding", "device=kept.device)"),
        ("(count.squeeze(1) * ordered.sum(dim=1))", "(kept.shape[1] * ordered.sum(dim=1))"),
        ("masked_fill(~kept, -1.0).sort(dim=1).values", "sort(dim=1).values"),
        ("masked_fill(~kept, -1.0).sort(dim=1, descending=True)", "sort(dim=1, descending=True)"),
        ("descending=True).values.clamp(min=0)", "descending=True).values"),
        ("fraction: float = 0.1", "fraction: float = 0.2"),
        ("fraction * kept.sum(dim=1, keepdim=True", "fraction * torch.ones_like(kept).sum(dim=1, keepdim=True"),
        ("(tokens - before).clamp(0, 1)", "(tokens > before).double()"),
        ("if not 0 < fraction <= 1", "if fraction > 1"),
        ("found = kept & positive", "found = positive"),
        ("masked_fill(~kept, math.inf).sort(dim=1)", "sort(dim=1)"),
        ("(below + up_to + 1).double() / 2", "(below + 1).double()"),
        ("(below + up_to + 1).double() / 2", "up_to.double()"),
        ("positives * (positives + 1) / 2", "positives * (positives - 1) / 2"),
        ("(kept & ~positive).sum(dim=1)", "(~positive).sum(dim=1)"),
        ("masked_fill(~kept, -math.inf)", "clone()"),
        ("(k - 1).clamp(min=0)", "(k - 2).clamp(min=0)"),
        ("kept & (scores > border), kept & (scores == border)", "scores > border, scores == border"),
        ("left * share_at", "left.clamp(max=1) * share_at.round()"),
        ("(above & found).sum(dim=1) + left", "left"),
        ("decisive & ~false, (column", "decisive, (column"),
        ("(column < 0) & false", "false"),
        ("column > 0, decisive", "column < 0, decisive"),
    ],
    "functional/masking": [
        ("where(mask.bool(), x, x.new_zeros(()))", "x"),
        ("where(mask.bool(), x, x.new_zeros(()))", "x * mask"),
        ("count.clamp(min=1)", "count"),
        ("mask.bool().expand_as(x)", "mask.bool()"),
        ("masked_sum(x, kept, dim) / count", "x.nan_to_num().sum() / count"),
    ],
    "functional/evidence": [
        ("(teacher_logprobs - student_logprobs).detach()", "(student_logprobs - teacher_logprobs).detach()"),
        ("(teacher_logprobs - student_logprobs).detach()", "teacher_logprobs.detach() - student_logprobs"),
        ("positive_logprobs - log_mean", "log_mean - positive_logprobs"),
        ("log_sum - count.clamp(min=1).log()", "log_sum"),
        (".masked_fill(~exists.unsqueeze(2), -math.inf)", ""),
        ("exists.any(dim=1, keepdim=True), contrast, 0).detach()", "exists.any(), contrast, 0).detach()"),
        ("contrast, 0).detach()", "contrast, 0)"),
    ],
    "functional/divergences": [
        ("return kl(teacher, student)", "return kl(student, teacher)"),
        ("return kl(student, teacher)", "return kl(teacher, student)"),
        (
            "student + math.log1p(-beta), teacher + math.log(beta)",
            "student + math.log(beta), teacher + math.log1p(-beta)",
        ),
        ("beta * kl(teacher, mixture) + (1 - beta) *", "(1 - beta) * kl(teacher, mixture) + beta *"),
        ("(1 - beta) * kl(student, mixture)", "(1 - beta) * kl(mixture, student)"),
        ("p.exp() * (p - q)", "p.exp() * (q - p)"),
        ("p.exp() * (p - q)", "q.exp() * (p - q)"),
        ("not 0 <= beta <= 1", "beta < 0 or beta > 1"),
    ],
    "functional/logprobs": [
        (".squeeze(-1) - normalizer", ".squeeze(-1)"),
        ("normalizer - torch.einsum", "torch.einsum"),
        ("with torch.no_grad():\n            teacher_logits", "if True:\n            teacher_logits"),
        (
            "_tempered_logits(teacher.head, teacher_hidden, temperature)",
            "_tempered_logits(teacher.head, teacher_hidden, 1.0)",
        ),
        ("teacher.divergence(logits, teacher_logits)", "teacher.divergence(teacher_logits, logits)"),
        ("else logits / temperature", "else logits * temperature"),
        ("entropy_gradient and torch.is_grad_enabled()", "torch.is_grad_enabled()"),
        ("entropy_gradient and torch.is_grad_enabled()", "False"),
        ("ids[s], None", "ids[:size], None"),
        ("probabilities * -gradient", "probabilities * gradient"),
        ("probabilities.amax(dim=-1).log()", "probabilities.amax(dim=-1)"),
    ],
    "functional/statistics": [
        ("highest <= lowest", "~(highest > lowest)"),
        ("highest <= lowest", "highest < lowest"),
        ("rewards.masked_fill(~valid, -torch.inf)", "rewards.nan_to_num()"),
        ("torch.where(wrong < k, 1.0,", "torch.where(wrong < 0, 1.0,"),
        ("1 - log_all_wrong.exp()", "log_all_wrong.exp()"),
        ("wrong = samples - correct", "wrong = correct"),
        ("(1 + confidence) / 2", "confidence"),
        ("z * z / (2 * n)", "z * z / n"),
        ("share * (1 - share) / n + z * z / (4 * n * n)", "share * (1 - share) / n"),
    ],
}
"""By module: a piece of its source, and what is put in its place."""

CHECKS: dict[str, Check] = {
    f"functional/{name.removeprefix('check_')}": check
    for name, check in list(globals().items())
    if name.startswith("check_")
}


@pytest.mark.parametrize("module", CHECKS)
def test_the_unchanged_module_passes_its_check(module: str):
    CHECKS[module](importlib.import_module(f"rlsd_pl.{module.replace('/', '.')}"))


def test_every_kernel_has_mutants():
    assert modules_of("functional") == set(CHECKS) == set(EDITS)


def test_every_mutant_is_caught():
    assert not survivors(mutants(EDITS), lambda mutant: CHECKS[mutant.module])
