"""Where the final answer stands in a completion. One rule per task, and the prompt states it: no cascade of guesses."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

_END_OF_TURN = re.compile(r"<\|(?:im_end|eot_id|endoftext|end|end_of_text|eom_id)\|>|</s>|<end_of_turn>")
_REASONING_CLOSE = "</think>"
_BLANKS = " \t\r\n"
"""What is taken off around an answer: JSON knows no other blanks, so a no-break space belongs to the answer."""
_BOX_TOKENS = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


class Missing(StrEnum):
    """Why a completion has no answer; each is a reason code."""

    NO_ANSWER = "no_answer"
    UNCLOSED = "answer_unclosed"
    NESTED = "answer_nested"
    EMPTY = "answer_empty"
    SEVERAL = "answer_several"
    IN_REASONING = "answer_in_reasoning"
    MALFORMED = "answer_malformed"


WRONG = frozenset({Missing.IN_REASONING, Missing.SEVERAL, Missing.MALFORMED})
"""An answer is there, but not where or how the rule allows it: judged wrong rather than unusable."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """Exactly one of ``answer`` and ``missing`` is set."""

    answer: str | None = None
    missing: Missing | None = None


class ExtractionRule(ABC):
    """Finds the answer in the text that follows the reasoning."""

    instruction: str

    def extract(self, text: str) -> Extracted:
        """The answer after the last reasoning close tag and before the first end-of-turn token after it."""
        reasoning, _, final = text.rpartition(_REASONING_CLOSE)
        final = _END_OF_TURN.split(final, maxsplit=1)[0]
        found = self.find(final)
        if found.missing is Missing.NO_ANSWER and reasoning and self.find(reasoning).answer is not None:
            return Extracted(missing=Missing.IN_REASONING)
        if found.answer is not None and not found.answer.strip():
            return Extracted(missing=Missing.EMPTY)
        return found

    @abstractmethod
    def find(self, text: str) -> Extracted:
        """The answer in ``text``, by this rule alone."""


class Boxed(ExtractionRule):
    """The last balanced ``\\boxed{...}`` (or ``\\fbox``)."""

    instruction = r"Put your final answer within \boxed{}."

    def find(self, text: str) -> Extracted:
        """One pass, whatever the nesting. A box within a box is no answer."""
        if "boxed" not in text and "fbox" not in text:
            return Extracted(missing=Missing.NO_ANSWER)
        stack: list[tuple[int, bool]] = []
        last: tuple[int, int] | None = None
        stray_close = False
        for match in _BOX_TOKENS.finditer(text):
            token = match[0]
            if token == "}":
                if not stack:
                    stray_close = True
                    continue
                start, is_box = stack.pop()
                last = (start, match.start()) if is_box else last
            elif token == "{" or len(token) > 2:
                stack.append((match.end(), len(token) > 2))
        if last is None:
            return Extracted(missing=_unclosed(stack, stray_close))
        content = text[slice(*last)]
        if re.search(r"\\(?:boxed|fbox)\s*\{", content):
            return Extracted(missing=Missing.NESTED)
        return Extracted(answer=content)


def _unclosed(stack: list[tuple[int, bool]], stray_close: bool) -> Missing:
    if not any(is_box for _, is_box in stack):
        return Missing.NO_ANSWER
    # Cut off in its box is unusable; braces that never matched are a malformed answer.
    return Missing.MALFORMED if stray_close else Missing.UNCLOSED


class HashLine(ExtractionRule):
    """The last line that starts with ``####``, as in GSM8K's solutions."""

    instruction = "End with one line: #### followed by the final answer."
    _MARK = re.compile(r"^[^\S\n]*####(.*)$", re.MULTILINE)

    def find(self, text: str) -> Extracted:
        return _last_line(self._MARK, text, "####")


class AnswerLine(ExtractionRule):
    """The last line that starts with ``Answer:``."""

    instruction = "End with one line: Answer: followed by the final answer."
    _MARK = re.compile(r"^[^\S\n]*(?:\*\*)?Answer:(.*)$", re.MULTILINE)

    def find(self, text: str) -> Extracted:
        return _last_line(self._MARK, text, "Answer:")


class WholeText(ExtractionRule):
    """All of the text after the reasoning."""

    instruction = "Answer with nothing but the answer itself."

    def find(self, text: str) -> Extracted:
        return Extracted(answer=text.strip(_BLANKS))


class FencedBlock(ExtractionRule):
    """The one fenced code block; a second one makes the answer ambiguous."""

    instruction = "Put your answer in one fenced code block (```)."
    _FENCE = re.compile(r"^[^\S\n]*```[^\n`]*$", re.MULTILINE)

    def find(self, text: str) -> Extracted:
        fences = list(self._FENCE.finditer(text))
        if len(fences) < 2:
            return Extracted(missing=Missing.UNCLOSED if fences else Missing.NO_ANSWER)
        if len(fences) > 2:
            return Extracted(missing=Missing.SEVERAL)
        return Extracted(answer=text[fences[0].end() : fences[1].start()].strip(_BLANKS))


def _last_line(mark: re.Pattern[str], text: str, label: str) -> Extracted:
    lines = mark.findall(text)
    if not lines:
        return Extracted(missing=Missing.NO_ANSWER)
    answer = lines[-1].strip().strip("*").strip()
    if label in answer:
        return Extracted(missing=Missing.SEVERAL)
    return Extracted(answer=answer) if _balanced(answer) else Extracted(missing=Missing.MALFORMED)


def _balanced(text: str) -> bool:
    depth = 0
    for match in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0
