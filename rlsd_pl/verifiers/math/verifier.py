"""Mathematics: one extraction rule, exact tiers in this process, math-verify and an audit in worker processes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import Boxed, ExtractionRule
from rlsd_pl.verifiers.lenient import METRIC, with_strict_accuracy
from rlsd_pl.verifiers.math.leaves import Policy, Undecided, equal_leaves
from rlsd_pl.verifiers.math.numbers import TooLarge, parse_quantity
from rlsd_pl.verifiers.math.screen import cost, excess, is_mathematics, symbolic_excess, unevaluated
from rlsd_pl.verifiers.math.text import canonical, squeeze
from rlsd_pl.verifiers.math.trees import Tree, leaves, parse_tree, same
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, limited, passed, refusal, unless_value, verdict
from rlsd_pl.verifiers.workers.pool import WorkerLimits, WorkerPool

MATH_LIMITS = WorkerLimits(wall_seconds=3.0, memory_bytes=1 << 30, request_bytes=1 << 16, reply_bytes=1 << 10)


class MathVerifier(Verifier):
    """Compares the final answer with ``problem.answer``; docs/verifiers.md holds the policy table.

    The tiers, cheapest first: equal text (NFKC), exact rational numbers, tuples and sets and matrices of them, and only
    then sympy in a worker. Model text never reaches ``eval``, nor sympy in this process.

    Args:
        rule: where the answer stands; its ``instruction`` must be in the prompt.
        policy: what counts as equal (units, tolerance).
        workers: processes for the symbolic tier, started when first needed.
        limits: what one symbolic comparison may use.
    """

    metric_names = (METRIC,)

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        policy: Policy | None = None,
        workers: int = 2,
        limits: WorkerLimits = MATH_LIMITS,
    ) -> None:
        self.rule = rule or Boxed()
        self.policy = policy or Policy()
        self.instruction = self.rule.instruction
        self._pool = WorkerPool("rlsd_pl.verifiers.math.symbolic.judge", workers, limits)

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """One verdict for each text. Equal (answer, reference) pairs of a batch are judged once."""
        found = [self.rule.extract(text) for text in texts]
        pairs = [(each.answer or "", problem.answer or "") for each, problem in zip(found, problems, strict=True)]
        judged = self._judge({pair for each, pair in zip(found, pairs, strict=True) if each.missing is None})
        verdicts = [
            refusal(each) or replace(judged[pair], answer=pair[0].strip())
            for each, pair in zip(found, pairs, strict=True)
        ]
        return with_strict_accuracy(self, texts, problems, verdicts)

    def check(self, problem: Problem) -> str | None:
        """A reference must be there, and must verify against itself."""
        if (reason := reference_fault(problem.answer or "")) is not None:
            return reason
        assert problem.answer is not None
        own = self._judge({(problem.answer, problem.answer)})[problem.answer, problem.answer]
        if own.status is Status.PASS:
            return None
        return f"the reference {problem.answer[:80]!r} does not verify against itself: {own.detail}"

    def close(self) -> None:
        self._pool.close()

    def _judge(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        """Decide each pair here if possible; send the others to the workers, the cheap ones first."""
        verdicts = {pair: judge_exactly(*pair, self.policy) for pair in sorted(pairs)}
        undecided = sorted((pair for pair, decision in verdicts.items() if decision is None), key=lambda p: cost(p[0]))
        replies = self._pool.map([self._request(*pair) for pair in undecided])
        for pair, reply in zip(undecided, replies, strict=True):
            verdicts[pair] = unless_value(reply) or verdict(Status(reply.value["status"]), reply.value["code"])
        return {pair: decision for pair, decision in verdicts.items() if decision is not None}

    def _request(self, answer: str, reference: str) -> dict[str, Any]:
        return {
            "answer": canonical(answer),
            "reference": canonical(reference),
            "units": self.policy.units,
            "relative_tolerance": self.policy.relative_tolerance,
        }


def judge_exactly(answer: str, reference: str, policy: Policy) -> Verdict | None:
    """The verdict of the tiers that need no sympy, or ``None`` if it takes sympy. Bounded string work only."""
    if (fault := reference_fault(reference)) is not None:
        return broken("reference_refused", fault)
    if code := excess(answer, reference):
        return limited(code)
    text, target = canonical(answer), canonical(reference)
    if squeeze(text) == squeeze(target):
        return passed("same_text")
    if not is_mathematics(text) and is_mathematics(target):
        return invalid("not_mathematics")
    tree, reference_tree = parse_tree(text), _reference_tree(target)
    try:
        equal = same(tree, reference_tree, lambda a, r: equal_leaves(a, r, policy))
    except TooLarge:
        return limited("number_too_large")
    except Undecided:
        equal = None
    if equal:
        return passed("exact")
    return _refused(text, target, tree) or (failed("unequal") if equal is False else None)


def _refused(text: str, target: str, tree: Tree) -> Verdict | None:
    """Expressions that are too expensive, or that restate the question instead of answering it."""
    try:
        if all(parse_quantity(leaf) for leaf in leaves(tree)):
            return None
    except TooLarge:
        return limited("number_too_large")
    if code := symbolic_excess(text, target):
        return limited(code)
    return failed("unevaluated") if unevaluated(text, target) else None


MOST_WORDS = 20
"""Words of a reference that may be an answer."""

_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")

_DIVIDED_BY_ZERO = re.compile(r"/ ?0(?![\d.,])|\\frac ?\{[^{}]*\} ?\{ ?0+ ?\}")


@lru_cache(maxsize=4096)
def reference_fault(reference: str) -> str | None:
    """Why nothing can be compared with ``reference``, or ``None``."""
    if not canonical(reference):
        return "the reference answer is empty; set Problem.answer"
    if "####" in reference or len(_WORD.findall(reference)) > MOST_WORDS:
        return (
            f"the reference {reference[:40]!r}... is a whole solution and no answer; say where the answer stands, for "
            "example with --task.answer_pattern '#### (.+)'"
        )
    try:
        for leaf in leaves(_reference_tree(canonical(reference))):
            if _DIVIDED_BY_ZERO.search(leaf):
                return f"the reference {reference[:80]!r} divides by zero"
            parse_quantity(leaf)
    except TooLarge as error:
        return f"the reference {reference[:80]!r} is too large to compute with ({error}); write it shorter"
    return None


@lru_cache(maxsize=4096)
def _reference_tree(target: str) -> Tree:
    return parse_tree(target)
