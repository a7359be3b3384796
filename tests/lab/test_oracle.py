"""Oracle credit against a loop over texts, and what it must leave unchanged."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd_pl.errors import SetupError
from rlsd_pl.lab import ChainTask, LabVerifier, OracleCredit, oracle
from rlsd_pl.objectives import RLVR
from rlsd_pl.rollout.verdict_checks import check_span_names
from rlsd_pl.types import MissingSignalError, RolloutBatch, TokenScores
from rlsd_pl.verifiers import GatedVerifier, NumericVerifier
from tests.mutations import Mutant, survivors
from tests.objective_loops import B, T, credited, moved_scores, random_batch

MANY = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def marked_batch(seed: int) -> RolloutBatch:
    draw = torch.Generator().manual_seed(seed)
    spans = {name: torch.rand(B, T, generator=draw) < 0.5 for name in ("decisive", "false")}
    return replace(random_batch(seed), verdict_spans=spans)


def expected(batch: RolloutBatch, floor: float) -> list[list[float]]:
    """The formula, token by token."""
    rows = []
    for b in range(B):
        a, row = batch.advantages[b].item(), []
        for t in range(T):
            decisive, false = (bool(batch.verdict_spans[name][b, t]) for name in ("decisive", "false"))
            decides = (a > 0 and decisive and not false) or (a < 0 and false)
            row.append(a if decides else floor * a)
        rows.append(row)
    return rows


def hold_to_the_loop(m: ModuleType) -> None:
    for seed in range(4):
        batch = marked_batch(seed)
        for floor in (0.0, 0.3, 1.0):
            credit = m.OracleCredit(floor).credit(batch, 0)
            assert credit.token_advantages.tolist() == expected(batch, floor)
        a, false = batch.advantages[:, None], batch.verdict_spans["false"]
        full = ((a > 0) & batch.verdict_spans["decisive"] & ~false) | ((a < 0) & false)
        shares = full[batch.loss_mask].tolist()
        assert credit.metrics == {"decisive": pytest.approx(sum(shares) / len(shares))}
    assert m.OracleCredit().floor == 0.0
    for floor in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"objective\.floor"):
            m.OracleCredit(floor)


EDITS = [
    ("deciding_tokens(batch.advantages,", "deciding_tokens(-batch.advantages,"),
    ('batch.marked("decisive"), batch.marked("false")', 'batch.marked("false"), batch.marked("decisive")'),
    ("masked_fill(decides, 1.0)", "masked_fill(~decides, 1.0)"),
    ("masked_fill(decides, 1.0)", "masked_fill(decides, 0.0)"),
    ("batch.advantages[:, None] * factor", "factor"),
    ("F.masked_mean(decides.float(), batch.loss_mask)", "decides.float().mean()"),
    ("floor: float = 0.0", "floor: float = 0.1"),
    ("if not 0 <= floor <= 1", "if False"),
]


def test_credit_is_that_of_the_loop():
    hold_to_the_loop(oracle)


def test_every_mutant_is_caught():
    assert not survivors([Mutant("lab/oracle", *edit) for edit in EDITS], lambda mutant: hold_to_the_loop)


@MANY
@given(seed=seeds)
def test_floor_one_is_rlvr_bit_for_bit(seed: int):
    batch = marked_batch(seed)
    scores = moved_scores(batch, seed)
    single = replace(batch, advantages=batch.advantages.float(), rollout_logprobs=batch.rollout_logprobs.float())
    for each in (batch, single):
        assert torch.equal(credited(OracleCredit(1.0), each).token_advantages, credited(RLVR(), each).token_advantages)
    losses = [method.loss(credited(method, batch), scores).loss for method in (OracleCredit(1.0), RLVR())]
    assert torch.equal(*losses)


@MANY
@given(seed=seeds, order=st.permutations(range(B)))
def test_rows_and_their_marks_are_selected_and_trimmed_together(seed: int, order: list[int]):
    batch, rows = marked_batch(seed), torch.tensor(order[:3])
    part = batch.select(rows)
    width = part.completions.ids.shape[1]
    assert width == batch.completions.mask[rows].sum(dim=1).max()
    assert {name: mask.shape for name, mask in part.verdict_spans.items()} == dict.fromkeys(
        ("decisive", "false"), (3, width)
    )
    whole = OracleCredit(0.2).credit(batch, 0).token_advantages
    assert whole is not None
    assert torch.equal(OracleCredit(0.2).credit(part, 0).token_advantages, whole[rows][:, :width])


def test_the_gradient_is_that_of_the_loss():
    batch = credited(OracleCredit(0.3), marked_batch(11))
    scores = moved_scores(batch, 11)

    def loss(logprobs: torch.Tensor) -> torch.Tensor:
        return OracleCredit(0.3).loss(batch, TokenScores(logprobs, scores.entropy)).loss[batch.loss_mask]

    assert torch.autograd.gradcheck(loss, (scores.logprobs,))


def test_an_objective_whose_needs_lack_a_span_is_told_so():
    with pytest.raises(MissingSignalError, match=r"'decisive'.*verdict_spans"):
        random_batch(0).marked("decisive")


def test_a_verifier_that_marks_no_such_spans_is_refused():
    check_span_names(LabVerifier(), OracleCredit())
    check_span_names(GatedVerifier({"n": NumericVerifier(), "lab": LabVerifier()}), OracleCredit())
    check_span_names(NumericVerifier(), RLVR())
    with pytest.raises(SetupError, match=r"OracleCredit.*\['decisive', 'false'\].*NumericVerifier.*none.*--verifier"):
        check_span_names(NumericVerifier(), OracleCredit())


def false_and_decisive(text: str, misconceptions: Sequence[str]) -> tuple[set[int], set[int]]:
    """Places of the false digits, and of the result digits of misconceived facts, by Python's own arithmetic."""
    false, decisive = set(), set()
    for match in re.finditer(r"(\d[-+*]\d)=(\d);", text):
        if eval(match[1]) % 10 != int(match[2]):
            false.add(match.start(2))
        if match[1] in misconceptions:
            decisive.add(match.start(2))
    return false, decisive


def test_the_verifier_marks_the_digits_that_the_oracle_reads():
    task, verifier, draw = ChainTask(), LabVerifier(), random.Random(0)
    seen = [0, 0, 0]
    for index in range(100):
        problem = task.problem("train", index)
        text = re.sub(
            r"=\d",
            lambda m: m[0] if draw.random() < 0.7 else f"={draw.randint(0, 9)}",
            problem.privileged["demonstration"],
        )
        (verdict,) = verifier.verify([text], [problem])
        places = {name: {start for start, end in verdict.spans[name]} for name in verdict.spans}
        assert set(verdict.spans) == set(LabVerifier.span_names)
        assert all(end == start + 1 for name in ("decisive", "false") for start, end in verdict.spans[name])
        assert (places["false"], places["decisive"]) == false_and_decisive(text, problem.metadata["misconceptions"])
        sizes = (len(places["false"]), len(places["decisive"]), len(places["decisive"] - places["false"]))
        seen = [total + size for total, size in zip(seen, sizes, strict=True)]
    assert min(seen) > 20
