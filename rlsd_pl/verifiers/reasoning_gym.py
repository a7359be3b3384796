"""reasoning-gym's own judgement of its problems, in confined workers: several of its tasks evaluate the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import ExtractionRule, FencedBlock
from rlsd_pl.verifiers.lenient import METRIC, with_strict_accuracy
from rlsd_pl.verifiers.sandbox import Level
from rlsd_pl.verifiers.sandbox.inside import wire
from rlsd_pl.verifiers.verdicts import broken, failed, passed, refusal, unless_value
from rlsd_pl.verifiers.workers.pool import Reply, WorkerLimits, WorkerPool

SCORE_LIMITS = WorkerLimits(wall_seconds=5.0, memory_bytes=2 << 30, reply_bytes=1 << 12)


class ReasoningGymVerifier(Verifier):
    """Passes an answer that the data set's ``score_answer`` gives full marks; partial marks are a metric, ``score``.

    ``score_answer`` runs in workers that Landlock and seccomp confine, because some data sets call ``eval`` or
    ``sympy.parse_expr`` on the answer: a confined worker reads the Python installation and reaches nothing else. It
    keeps its state between answers, so an answer that runs code can disturb later verdicts of the same worker.

    Args:
        rule: where the answer stands; answers may have several lines, so the default is one fenced block.
        minimum_level: ``L1`` accepts workers without these walls, where the kernel has none.
        workers: processes, started when first needed.
        limits: what one answer may use.
    """

    metric_names = ("score", "sandbox_level", METRIC)

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        minimum_level: Level = Level.L2,
        workers: int = 2,
        limits: WorkerLimits = SCORE_LIMITS,
    ) -> None:
        self.rule = rule or FencedBlock()
        self.instruction = self.rule.instruction
        self.minimum_level = minimum_level
        self._pool = WorkerPool("rlsd_pl.verifiers.workers.reasoning_gym.handle", workers, limits)

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """One verdict for each text; a text without an answer costs no worker's time."""
        found = [self.rule.extract(text) for text in texts]
        answered = [i for i, answer in enumerate(found) if answer.missing is None]
        replies = self._pool.map([self._request(found[i].answer or "", problems[i]) for i in answered])
        judged = {i: replace(_judge(reply), answer=found[i].answer) for i, reply in zip(answered, replies, strict=True)}
        verdicts = [refusal(answer) or judged[i] for i, answer in enumerate(found)]
        return with_strict_accuracy(self, texts, problems, verdicts)

    def check(self, problem: Problem) -> str | None:
        return self.check_all([problem])[0]

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """The data set's own answer must get full marks; where it publishes none, nothing is checked."""
        replies = self._pool.map([self._request(problem.answer or "", problem) for problem in problems])
        return [_complaint(problem, _judge(reply)) for problem, reply in zip(problems, replies, strict=True)]

    def close(self) -> None:
        self._pool.close()

    def _request(self, answer: str, problem: Problem) -> dict[str, Any]:
        asked = {key: problem.metadata.get(key) for key in ("dataset", "config", "entry")}
        # The codec keeps tuples, on which some data sets insist.
        try:
            task = wire.dumps(asked, self._pool.limits.request_bytes).decode()
        except wire.WireError:
            task = ""  # the worker fails on it, and that is an error of this row alone
        return {"task": task, "answer": answer, "minimum_level": int(self.minimum_level)}


def _judge(reply: Reply) -> Verdict:
    if (failure := unless_value(reply)) is not None:
        return failure
    if "refused" in reply.value:
        return broken("not_confined", reply.value["refused"])
    score = reply.value.get("score", 0.0)
    if "raised" in reply.value:
        judged = failed("marking_raised", reply.value["raised"])
    else:
        judged = passed("full_marks") if score >= 1 else failed("not_full_marks")
    return replace(judged, metrics={"score": score, "sandbox_level": float(reply.value["level"])})


def _complaint(problem: Problem, judged: Verdict) -> str | None:
    if judged.status is Status.ERROR:
        return judged.detail
    if problem.answer is not None and judged.status is not Status.PASS:
        return f"the data set does not accept its own answer: {judged.detail}"
    return None
