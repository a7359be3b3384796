"""Where the program stands in a completion: the last closed fenced block, or the whole text."""

from __future__ import annotations

import re

from rlsd_pl.verifiers.extraction import Extracted, ExtractionRule, Missing

# Possessive throughout: a line that is no fence after all must not be read in quadratic time.
_FENCE = re.compile(r" {0,3}(`{3,}+)[ \t]*+([^`\s]*+)[^`]*+$")
_ALIASES = {"python": frozenset({"python", "python3", "py"}), "sql": frozenset({"sql", "sqlite"})}


class LanguageBlock(ExtractionRule):
    """The last closed fenced block of one language. Blocks of other languages, or without one, do not count.

    Fences pair as in CommonMark: a block ends at the first line that holds nothing but at least as many backticks as
    opened it.

    Args:
        language: the word after the opening backticks, ``python`` or ``sql``.
    """

    def __init__(self, language: str = "python") -> None:
        if language not in _ALIASES:
            raise ValueError(f"got language={language!r}, expected one of {sorted(_ALIASES)}")
        self.language = language
        self.instruction = f"Put your final answer in one fenced ```{language} block; the last such block counts."

    def find(self, text: str) -> Extracted:
        """One pass over the lines."""
        last: str | None = None
        opened: tuple[int, str] | None = None
        body: list[str] = []
        for line in text.split("\n"):
            fence = _FENCE.match(line.rstrip())
            if opened is None:
                opened = (len(fence[1]), fence[2].lower()) if fence else None
                body = []
            elif fence and not fence[2] and len(fence[1]) >= opened[0]:
                last = "\n".join(body) if opened[1] in _ALIASES[self.language] else last
                opened = None
            else:
                body.append(line)
        if last is not None:
            return Extracted(answer=last)
        unclosed = opened is not None and opened[1] in _ALIASES[self.language]
        return Extracted(missing=Missing.UNCLOSED if unclosed else Missing.NO_ANSWER)


class RawText(ExtractionRule):
    """The completion as it is, for base models that continue ``prompt_code`` (HumanEval) and for bare SQL."""

    instruction = ""

    def find(self, text: str) -> Extracted:
        return Extracted(answer=text)
