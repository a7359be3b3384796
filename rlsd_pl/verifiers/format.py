"""Structure alone: a regular expression, or reasoning and answer tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlsd_pl.types import Problem, Verdict
from rlsd_pl.verifiers.base import Verifier
from rlsd_pl.verifiers.extraction import END_OF_TURN, first_turn, visible
from rlsd_pl.verifiers.verdicts import failed, passed, unless_value
from rlsd_pl.verifiers.workers.pool import WorkerLimits, WorkerPool

REGEX_LIMITS = WorkerLimits(wall_seconds=1.0, memory_bytes=512 << 20, reply_bytes=1 << 10)


class RegexVerifier(Verifier):
    """Passes a completion that matches ``pattern`` from its first to its last character (Python ``re``).

    The match runs in a worker: a pattern with nested repeats takes exponential time on the right text.

    Args:
        pattern: the expression; write flags inline, for example ``(?s)``.
        instruction: what the prompt tells the model.
        workers: processes, started when first needed.
        limits: what one match may use.
    """

    def __init__(
        self, pattern: str, instruction: str = "", workers: int = 1, limits: WorkerLimits = REGEX_LIMITS
    ) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"got pattern {pattern!r}, expected a regular expression: {error}") from None
        self.pattern = pattern
        self.instruction = instruction
        self._pool = WorkerPool("rlsd_pl.verifiers.documents.matching.handle", workers, limits)

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        replies = self._pool.map([{"pattern": self.pattern, "text": text} for text in texts])
        return [
            unless_value(reply) or (passed("matches") if reply.value["matches"] else failed("no_match"))
            for reply in replies
        ]

    def close(self) -> None:
        self._pool.close()


class ThinkAnswerVerifier(Verifier):
    """Passes exactly ``<think>...</think> <answer>...</answer>``: each tag once, none empty.

    Text outside the tags fails. The opening ``<think>`` may be missing where the chat template has already written it.
    """

    instruction = "Think within <think> </think>, then answer within <answer> </answer>."
    _TAG = re.compile(r"</?(?:think|answer)>")
    _ORDER = ("<think>", "</think>", "<answer>", "</answer>")

    def __init__(self) -> None:
        self.end_of_turn: Sequence[str] = END_OF_TURN

    def bind(self, end_of_turn: Sequence[str]) -> None:
        self.end_of_turn = end_of_turn

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        return [self._judge(first_turn(text, self.end_of_turn).strip()) for text in texts]

    def _judge(self, text: str) -> Verdict:
        if not text.startswith("<think>"):
            text = "<think>" + text
        tags = tuple(self._TAG.findall(text))
        if tags != self._ORDER:
            return failed("tags_missing" if set(tags) < set(self._ORDER) else "tags_out_of_order")
        before, reasoning, between, answer, after = self._TAG.split(text)
        if before.strip() or between.strip() or after.strip():
            return failed("text_outside_tags", answer=answer.strip())
        if visible(reasoning) and visible(answer):
            return passed("well_formed", answer=answer.strip())
        return failed("tag_empty", answer=answer.strip())
