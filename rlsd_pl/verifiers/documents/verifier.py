"""JSON documents: strictly read, checked against the problem's schema, or compared with the reference."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from rlsd_pl.types import Problem, Status, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.documents.fields import weighted_share
from rlsd_pl.verifiers.documents.strict import JSONLimitError, JSONTextError, canonical_json, read_json, same_json
from rlsd_pl.verifiers.extraction import Extracted, ExtractionRule, WholeText
from rlsd_pl.verifiers.verdicts import broken, failed, invalid, limited, passed, refusal, unless_value, verdict
from rlsd_pl.verifiers.workers.pool import Reply, WorkerLimits, WorkerPool

log = logging.getLogger(__name__)

SCHEMA_LIMITS = WorkerLimits(wall_seconds=2.0, memory_bytes=1 << 30, reply_bytes=1 << 12)


class JSONVerifier(Verifier):
    """What both verifiers share: the rule, the options of partial credit, and the answer of a verdict.

    Partial credit invites gaming: made-up values of the right type earn their share under a schema, and keys that are
    easy to guess earn it against a reference. So surplus keys cost as much as a wrong one, and status and detail stay
    those of a wrong document. Give the keys that matter most of the weight, and watch the pass rate beside the reward.

    Args:
        rule: :class:`WholeText`, or :class:`~rlsd_pl.verifiers.extraction.FencedBlock` for exactly one fenced block.
        partial_credit: whether a wrong object earns the weighted share of its top-level fields that are right.
        field_weights: weights by key, for partial credit; a key without one weighs 1.
    """

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        partial_credit: bool = False,
        field_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.rule = rule or WholeText()
        self.instruction = f"Answer with one JSON document. {self.rule.instruction}"
        self.partial_credit, self.field_weights = partial_credit, dict(field_weights or {})
        if field_weights and not partial_credit:
            raise ValueError("got field_weights without partial_credit; set partial_credit=True to use them")
        if any(not 0 < weight < math.inf for weight in self.field_weights.values()):
            raise ValueError(f"got field_weights={self.field_weights}, expected positive numbers")


class JSONSchemaVerifier(JSONVerifier):
    """Passes a completion that is one JSON document valid under ``problem.metadata["schema"]`` (object or JSON text).

    Draft 2020-12 unless the schema says otherwise. Formats are asserted, nothing is fetched, patterns are ECMA-262.
    Validation runs in workers: a pattern or an ``anyOf`` of a trusted schema may take exponential time on model text.

    Args:
        rule: see :class:`JSONVerifier`.
        workers: processes, started when first needed.
        limits: what one validation may use.
        partial_credit: a wrong document earns the share of the keys named by the schema's ``properties`` and
            ``required`` that are right; 0 where an error belongs to no key.
        field_weights: see :class:`JSONVerifier`.
    """

    def __init__(
        self,
        rule: ExtractionRule | None = None,
        workers: int = 2,
        limits: WorkerLimits = SCHEMA_LIMITS,
        partial_credit: bool = False,
        field_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(rule, partial_credit, field_weights)
        self._pool = WorkerPool("rlsd_pl.verifiers.documents.schemas.handle", workers, limits)
        self._warned = False

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """One verdict for each text. A schema that :meth:`check` refuses makes an ``error``, whatever the text."""
        found = [self.rule.extract(text) for text in texts]
        fields = {"fields": self.field_weights} if self.partial_credit else {}
        requests = [
            {"text": answer.answer or "", "schema": _schema_text(problem), **fields}
            for answer, problem in zip(found, problems, strict=True)
        ]
        verdicts = [
            unless_value(reply) or _verdict(reply.value, refusal(answer))
            for reply, answer in zip(self._pool.map(requests), found, strict=True)
        ]
        return [replace(each, answer=_canonical(answer.answer)) for each, answer in zip(verdicts, found, strict=True)]

    def check(self, problem: Problem) -> str | None:
        """Lints the schema; a reference answer, where there is one, must be valid."""
        return self.check_all([problem])[0]

    def check_all(self, problems: Sequence[Problem]) -> list[str | None]:
        """:meth:`check` of many problems, side by side. Warns once if schemas leave their objects open."""
        schemas = [_schema_text(problem) for problem in problems]
        replies = self._pool.map([{"schema": schema} for schema in schemas])
        self._warn_of_open_objects([bool(reply.value and reply.value["open"]) for reply in replies])
        answered = [i for i, reply in enumerate(replies) if _sound(reply) and problems[i].answer is not None]
        outcomes = self._pool.map([{"text": problems[i].answer, "schema": schemas[i]} for i in answered])
        judged = {i: unless_value(o) or _verdict(o.value, None) for i, o in zip(answered, outcomes, strict=True)}
        return [_complaint(reply, judged.get(i)) for i, reply in enumerate(replies)]

    def _warn_of_open_objects(self, found: Sequence[bool]) -> None:
        if any(found) and not self._warned:
            self._warned = True
            log.warning(
                "%d of the %d schemas checked first leave objects open: a completion passes with keys that it made up. "
                'Set "additionalProperties": false in every object of a schema, or true where that is meant.',
                sum(found),
                len(found),
            )

    def close(self) -> None:
        self._pool.close()


class JSONAnswerVerifier(JSONVerifier):
    """Passes a completion that is the JSON document ``problem.answer``, type-strict, object keys in any order.

    With ``partial_credit`` a wrong object earns the share of the reference's keys whose values are equal.
    """

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        found = [self.rule.extract(text) for text in texts]
        return [
            replace(self._judge(answer, problem.answer or ""), answer=_canonical(answer.answer))
            for answer, problem in zip(found, problems, strict=True)
        ]

    def check(self, problem: Problem) -> str | None:
        """The reference must be strict JSON."""
        try:
            _reference(problem.answer or "")
        except JSONTextError as error:
            return f"Problem.answer is not strict JSON: {error}"
        return None

    def _judge(self, found: Extracted, reference: str) -> Verdict:
        try:
            target = _reference(reference)
        except JSONTextError as error:
            return broken("reference_refused", str(error))
        try:
            value = read_json(found.answer or "")
        except JSONTextError as error:
            return refusal(found) or json_refusal(error)
        if same_json(value, target):
            return passed("same_document")
        return replace(failed("other_document"), reward=self._share(value, target))

    def _share(self, value: Any, target: Any) -> float:
        if not self.partial_credit or not isinstance(value, dict) or not isinstance(target, dict):
            return 0.0
        right = [key for key in target.keys() & value.keys() if same_json(value[key], target[key])]
        return weighted_share(right, target, len(value.keys() - target), self.field_weights)


def json_refusal(error: JSONTextError) -> Verdict:
    """The verdict on text that is not strict JSON."""
    make = limited if isinstance(error, JSONLimitError) else invalid
    return make(error.code)


@lru_cache(maxsize=4096)
def _reference(text: str) -> Any:
    return read_json(text)


def _canonical(text: str | None) -> str | None:
    """The document in its one spelling; text that is none, as it is."""
    try:
        return None if text is None else canonical_json(read_json(text))
    except JSONTextError:
        return text


def _schema_text(problem: Problem) -> str:
    schema = problem.metadata.get("schema")
    if schema is None:
        return ""
    return schema if isinstance(schema, str) else json.dumps(schema)


def _sound(lint: Reply) -> bool:
    return unless_value(lint) is None and lint.value["reason"] is None


def _complaint(lint: Reply, judged: Verdict | None) -> str | None:
    """From a lint, and the verdict on the reference where there is one."""
    if (failure := unless_value(lint)) is not None:
        return f"the schema could not be checked: {failure.detail}"
    if lint.value["reason"] is not None:
        return lint.value["reason"]
    return None if judged is None or judged.status is Status.PASS else f"the reference is not valid: {judged.detail}"


def _verdict(outcome: dict[str, Any], extraction_refusal: Verdict | None) -> Verdict:
    status = Status(outcome["status"])
    if status is not Status.ERROR and extraction_refusal is not None:
        return extraction_refusal
    found = verdict(status, outcome["code"], outcome["explanation"] if status is not Status.PASS else "")
    return replace(found, reward=outcome.get("share", found.reward))
