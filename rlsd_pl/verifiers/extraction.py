"""Where the final answer stands in a completion. One rule per task, and the prompt states it: no cascade of guesses."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

END_OF_TURN = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "<|return|>", "<|call|>",
    "</s>", "<end_of_turn>", "<|eot|>", "<|END_OF_TURN_TOKEN|>", "<|user|>", "<|observation|>", "<eos>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>",
)  # fmt: skip
"""Texts that end a turn where :meth:`ExtractionRule.bind` was not called: those of well-known chat formats."""
_REASONING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
_NEXT_MESSAGE = re.compile(r"<\|end\|>\s*<\|start\|>assistant")
"""gpt-oss goes on with another message of the same turn."""
_BLANKS = " \t\r\n"
"""What is taken off around an answer: JSON knows no other blanks, so a no-break space belongs to the answer."""
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols without ink."""
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
    lead: str | None = None
    """What stands right before an answer, where that is always the same."""
    strict: type[ExtractionRule] | None = None
    """Of a lenient rule: the one whose accuracy is reported beside."""
    end_of_turn: tuple[str, ...] = END_OF_TURN

    def bind(self, end_of_turn: Sequence[str]) -> None:
        """Say which texts end a turn: those of the tokens that end one for the tokenizer in use."""
        self.end_of_turn = tuple(text for text in end_of_turn if text)

    def extract(self, text: str) -> Extracted:
        """The answer before the first end of turn and after the reasoning, which must be closed."""
        reasoning, final = split_reasoning(first_turn(text, self.end_of_turn))
        found = self.find(final)
        if found.missing is Missing.NO_ANSWER and reasoning and self.find(reasoning).answer is not None:
            return Extracted(missing=Missing.IN_REASONING)
        if found.answer is not None and not visible(found.answer):
            return Extracted(missing=Missing.EMPTY)
        return found

    @abstractmethod
    def find(self, text: str) -> Extracted:
        """The answer in ``text``, by this rule alone."""


def first_turn(text: str, end_of_turn: Sequence[str] = END_OF_TURN) -> str:
    """``text`` up to the first of ``end_of_turn``, whatever follows it."""
    for end in re.finditer("|".join(map(re.escape, end_of_turn)) or "(?!)", text):
        if not _NEXT_MESSAGE.match(text, end.start()):
            return text[: end.start()]
    return text


def visible(text: str) -> bool:
    """True if anything in ``text`` has ink: zero-width characters, separators, controls and fillers have none."""
    return any(unicodedata.category(char)[0] in "LNPS" and char not in _FILLERS for char in text)


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, final text), split at the last tag that closes reasoning; what is never closed is reasoning."""
    closed = max(text.rfind(close) + len(close) if close in text else 0 for _, close in _REASONING)
    if any(text.find(opening, closed) >= 0 for opening, _ in _REASONING):
        return text, ""
    return text[:closed], text[closed:]


class Boxed(ExtractionRule):
    """The last balanced ``\\boxed{...}`` (or ``\\fbox``)."""

    instruction = r"Put your final answer within \boxed{}."
    lead = r"\boxed{"

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
    lead = "#### "
    _LABEL = "####"
    _MARK = re.compile(r"^[^\S\n]*####(.*)$", re.MULTILINE)

    def find(self, text: str) -> Extracted:
        """A line with two marks, or with braces that do not match, is no answer."""
        lines = self._MARK.findall(text)
        if not lines:
            return Extracted(missing=Missing.NO_ANSWER)
        answer = lines[-1].strip().strip("*").strip()
        if self._LABEL in answer:
            return Extracted(missing=Missing.SEVERAL)
        return Extracted(answer=answer) if _balanced(answer) else Extracted(missing=Missing.MALFORMED)


class AnswerLine(HashLine):
    """The last line that starts with ``Answer:``."""

    instruction = "End with one line: Answer: followed by the final answer."
    lead = "Answer: "
    _LABEL = "Answer:"
    _MARK = re.compile(r"^[^\S\n]*(?:\*\*)?Answer:(.*)$", re.MULTILINE)


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


_NUMBER = re.compile(r"(?<![\w.,-])-?(?:\d[\d,]*)?(?:\.\d+)?(?<=\d)(?:[eE][-+]?\d+|/\d+)?|\d+")


class SoleAnswerLine(ExtractionRule):
    """The last line that is not blank, where no earlier line is a bare number: no guesses line by line."""

    instruction = "Give the final answer alone on the last line."

    def find(self, text: str) -> Extracted:
        *earlier, last = [line.strip() for line in text.splitlines() if line.strip()] or [""]
        if not last:
            return Extracted(missing=Missing.NO_ANSWER)
        several = any(_NUMBER.fullmatch(line) for line in earlier)
        return Extracted(missing=Missing.SEVERAL) if several else Extracted(answer=last)


class LastNumber(ExtractionRule):
    """The last number anywhere in the text. Lenient: for models that follow no format.

    What gaming gains: an answer need not be meant as one. A list of guesses that ends in the likeliest passes, and so
    does a number that follows the answer by chance ("so 41, as 42 is too much" for 42), or that stands last where the
    completion was cut off. Prefer a rule with a mark.
    """

    instruction = "End with the final answer, a number alone on the last line."
    strict = SoleAnswerLine

    def find(self, text: str) -> Extracted:
        numbers = [match for match in _NUMBER.findall(text) if match]
        return Extracted(answer=numbers[-1]) if numbers else Extracted(missing=Missing.NO_ANSWER)


class LastLine(ExtractionRule):
    """The last line that is not blank. Lenient: for models that follow no format.

    What gaming gains: as with :class:`LastNumber`, whatever stands last counts, the last of several guesses on lines of
    their own too; but all of the line must be the answer, so that hedging ("41 or 42") fails.
    """

    instruction = "Give the final answer alone on the last line."
    strict = SoleAnswerLine

    def find(self, text: str) -> Extracted:
        _, _, line = text.rstrip().rpartition("\n")
        return Extracted(answer=line.strip()) if line.strip() else Extracted(missing=Missing.NO_ANSWER)


class FlexibleBoxed(Boxed):
    """:class:`Boxed`, and where there is no box at all, :class:`LastNumber`.

    What gaming gains: that of :class:`LastNumber`, for completions without a box. One that a model learns to leave out
    costs nothing, so the format is not learnt: compare with the accuracy under :class:`Boxed`, which is logged beside.
    """

    strict = Boxed

    def find(self, text: str) -> Extracted:
        boxed = super().find(text)
        return LastNumber().find(text) if boxed.missing is Missing.NO_ANSWER else boxed


def _balanced(text: str) -> bool:
    depth = 0
    for match in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth < 0:
            return False
    return depth == 0
