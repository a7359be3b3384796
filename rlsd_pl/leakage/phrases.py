"""Completions that speak of material which the problem does not hold."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd_pl.patterns import TextPattern

_SAYS = (
    r"(?:already |also |here |only |that I \w+ )?"
    r"(?:says?|said|states?|mentions?|tells?|shows?|gives?|confirms?|contains?|suggests?|does|uses|writes|begins|points|"
    r"reveals?|lists?|includes?|explains?|indicates?|expects?|agrees?)\b"
)
_ORDINARY = r"(?! (?:to|of|for|books?|frames?|letters?|points?|lines?|numbers?|temperature|level|manual|list|in the)\b)"
"""What follows where 'the reference' or 'the hint' is a thing of the problem's own."""
_TEXT = (
    r"(?:answer|solution|result|response|output|query|implementation|derivation|proof|key|chain|text|summary|code)s?\b"
)
_GIVEN = r"(?:given|provided|supplied|shown|told|revealed|attached|disclosed|leaked)"
_WE_WERE = r"(?:I|we) (?:was|were|am|are|have been|had been|have already been) "

REFERENCES = (
    # the reference, named as a text
    rf"\breference {_TEXT}",
    rf"\breference {_SAYS}",
    r"\b(?:according to|based on|from|in|per|against|match(?:es|ing)?|follow(?:s|ing)?|with|mention(?:ing)?|use) "
    rf"(?:the|this|my) (?:\w+ )?reference\b{_ORDINARY}",
    # a hint
    rf"\bhint {_SAYS}",
    rf"\b(?:according to|based on|as|from|per|mention(?:ing)?) the hint\b{_ORDINARY}",
    r"(?:^|\. )hint: the (?:final |correct )?answer\b",
    # keys and official texts
    rf"\b(?:answer|solution) (?:key|sheet) {_SAYS}",
    r"\b(?:according to|based on|from|in|per|looking at|by) the (?:answer|solution) (?:key|sheet)\b",
    r"\b(?:official|sample|model|gold|gold-standard|annotated|privileged|hidden|secret|leaked|known|target) (?:final )?"
    r"(?:answer|solution|response|query|information)\b(?! (?:to|of)\b)",
    r"\b(?:teacher's|previous|other|example|successful) (?:solution|attempt)\b(?! (?:is )?to\b)",
    r"\bground truth (?:is|says|answer)\b",
    # given, provided, expected
    rf"\b(?:provided|supplied) (?:final |reference )?(?!code){_TEXT}",
    r"\b(?:the|this) given (?:final |reference )?(?:answer|solution|result|key)\b(?! (?:choice|option)s?\b)",
    r"\b(?:the|this) (?:expected|correct) (?:answer|output|result|response)\b(?! (?:of|to|choice)\b)"
    r"(?:,? (?:as|is (?:stated|given|known)|was)|,| it is| of \d)",
    rf"\b(?:answer|solution|result|option)s? (?:(?:is|was|has been) )(?:already )?{_GIVEN}\b",
    rf"\b(?:answer|solution|result|value|document)s? (?:that )?{_WE_WERE}{_GIVEN}\b",
    rf"\b(?:answer|solution|result|running value)s? {_GIVEN}(?: to (?:me|us))?(?=[.,: ]+(?:$|\d|is|are|starts|that))",
    rf"\b{_WE_WERE}{_GIVEN} (?:that )?the (?:\w+ )?(?:answer|solution|result|reference|key|option)\b",
    r"\b(?:from|in) (?:what|the solution(?: that)?) (?:I|we) (?:was|were|have been) shown\b",
    r"\bsolution (?:that )?(?:I have in front of me|accompanies this)\b",
    r"\bgave (?:me|us) the (?:final |correct )?(?:answer|solution|result)\b",
    # knowing the answer
    r"\b(?:I|we) (?:already )?know (?:that )?the (?:final |correct )?answer (?:is|should|must|to be)\b",
    r"\bknow(?:n|ing)? (?:that )?(?:from the (?:solution|reference|key)\b|the (?:final |correct )?answer is\b)",
    r"\b(?:as|since|because) (?:it (?:is|was) )?(?:given|stated|provided|shown) (?:in|by) the "
    r"(?:answer|solution|reference|key)\b",
    r"\bas the solution (?:says|states|explains|shows)\b",
    # other attempts, their feedback, and tests
    r"\bfeedback (?:on my|(?:that )?I|says|said)\b",
    r"\bmarked (?:as )?correct\b|\battempt (?:that|which) was (?:accepted|correct|right)\b",
    r"\bverifier (?:expects|wants|accepts|checks)\b|\btests (?:that )?I was shown\b",
    # acting
    r"\b(?:pretend|act) (?:to|as if|that) .{0,40}\b(?:my own|not seen|own)\b",
    r"\bwithout mentioning the (?:reference|hint|solution|answer)\b|\bnot mention the (?:reference|hint|solution)\b",
)
"""Phrases that refer to material which the problem did not hold; English, case-insensitive.

Written against one half of ``tests/data/leakage_phrases.jsonl`` and measured on the other; docs/leakage.md has the
precision and recall."""


class PhraseDetector:
    """Finds phrases that refer to unseen material.

    Args:
        patterns: regular expressions, case-insensitive.

    Raises:
        ValueError: for a pattern that is none, or that would take exponential time on some text.
    """

    def __init__(self, patterns: Sequence[str] = REFERENCES) -> None:
        self.pattern = TextPattern("(?i)" + "|".join(f"(?:{p})" for p in patterns), "patterns")

    def __call__(self, prompt: str, completion: str) -> bool:
        """True if the completion holds such a phrase, and the prompt does not hold the same words."""
        shown = prompt.lower()
        return any(match.group().lower() not in shown for match in self.pattern.matches(completion))
