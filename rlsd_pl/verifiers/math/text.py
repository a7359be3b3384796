"""From what a model wrote in its answer to one canonical line of ASCII LaTeX: bounded string work."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207f]+")
_SUBSCRIPTS = re.compile("[\u2080-\u2089]+")
_SYMBOLS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "⁄": "/", "∕": "/",
        "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ", "±": r"\pm ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "°": r"^\circ ", "∅": r"\emptyset ", "θ": r"\theta ",
        "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "φ": r"\phi ", "ω": r"\omega ", "′": "'", "’": "'",
        "€": r"\text{euro} ", "£": r"\text{pound} ",
    }
)  # fmt: skip
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
FUNCTIONS = tuple(f"{arc}{name}{h}" for arc in ("", "arc") for name in _TRIGONOMETRIC for h in ("", "h"))
FUNCTIONS += ("log", "ln", "exp")
GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|"
    "phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega"
)
"""Letters that may name a variable: \\pi is a number."""

_TEXT_COMMANDS = re.compile(r"\\(?:mbox|math(?:rm|bf|it|sf|up)|text(?:rm|bf|it|sf|up|normal)|operatorname\*?)\s*\{")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|hfill)(?![A-Za-z])")
_COLOR = re.compile(r"\\(?:color|textcolor)\s*\{[^{}]*\}")
_THIN = re.compile(r"(?<!\\)\\!")
_GROUPING = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\;|~|\\ )(?=\d{3}(?!\d))")
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:> ]|(?:quad|qquad|enspace)(?![A-Za-z]))|~|\s+")
_SYNONYMS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\leq": r"\le", r"\leqslant": r"\le",
    r"\geq": r"\ge", r"\geqslant": r"\ge", r"\neq": r"\ne", r"\ast": r"\cdot", r"\lbrace": r"\{", r"\rbrace": r"\}",
    r"\varnothing": r"\emptyset", r"\lt": "<", r"\gt": ">", r"\infin": r"\infty", r"\lbrack": "[", r"\rbrack": "]",
    r"\degree": r"^\circ", r"\$": "$", r"\%": "%", r"\ldots": "...", r"\dots": "...", r"\cdots": "...",
    r"\lvert": "|", r"\rvert": "|", r"\vert": "|",
}  # fmt: skip
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|[$%])")
_ROW_GAP = re.compile(r"\\\\ ?\[[^\[\]]*\]")
_DEGREES = r"(\d+(?:\.\d+)?) ?\^ ?(?:\{ ?\\circ ?\}|\\circ(?![A-Za-z]))"
_DEGREES_OF_FUNCTION = re.compile(
    rf"(\\(?:sin|cos|tan|cot|sec|csc)) ?(?:\( ?{_DEGREES} ?\)|\{{ ?{_DEGREES} ?\}}|{_DEGREES})"
)
"""Degrees as the argument of a function are an angle; elsewhere they are a unit."""
_UPRIGHT = re.compile(
    r"\\text ?\{ ?([-+\d.,/]+|(?![mgshlLAVNJWCF])[A-Za-z]) ?\}|(?<![\d})] )(?<![\d})])\\text ?\{ ?([A-Za-z]) ?\}"
)
"""Numbers, and single letters that are no unit or follow no number: upright, they mean what they mean otherwise."""
_SPELLINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_UPRIGHT, lambda m: f" {m[1] or m[2]} "),
    (re.compile(rf"\\text ?\{{ ?({'|'.join(FUNCTIONS)}) ?\}}"), r"\\\1 "),
    (re.compile(r"(?i)\\text ?\{ ?infinity ?\}|(?<![A-Za-z\\])infinity(?![A-Za-z])"), r"\\infty "),
    (_DEGREES_OF_FUNCTION, lambda m: rf"{m[1]}(\frac{{{m[2] or m[3] or m[4]}\pi}}{{180}})"),
    (re.compile(r"^-\s*-(?=\s*[\d.\\(])"), ""),
    (re.compile(r"\\mathbb ?\{?R\}?"), r"(-\\infty,\\infty)"),
    (re.compile(r"\\begin ?\{array\} ?\{[^{}]*\}"), r"\\begin{matrix}"),
    (re.compile(r"\\end ?\{array\}"), r"\\end{matrix}"),
)
_IDLE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])|(?<=\d) (?=[A-Za-z])|(?<=[A-Za-z]) (?=\d)")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)")
_HALF_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(?=\{)")
_BRACED_SHORT_FRACTION = re.compile(r"(\\frac\s*\{[^{}]*\})\s*(\d)")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\w)")
_FULL_STOP = re.compile(r"(?<![.,;:]) ?[.,;:]$")  # 5... goes on
_MATH_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


def canonical(text: str) -> str:
    """One spelling for what is written in many: Unicode signs, sizes, spacing, synonyms of commands, delimiters."""
    text = _unicode_to_latex(text)
    text = _strip_delimiters(text.strip())
    text = _COLOR.sub("", text)
    text = _TEXT_COMMANDS.sub(r"\\text{", text)
    text = _SIZES.sub("", text)
    text = _GROUPING.sub("", _THIN.sub("", text))
    text = _COMMAND.sub(lambda match: _SYNONYMS.get(match[0], match[0]), text)
    text = _SPACES.sub(" ", _ROW_GAP.sub(r"\\\\", text))
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _HALF_SHORT_FRACTION.sub(r"\\frac{\1}", text)
    text = _BRACED_SHORT_FRACTION.sub(r"\1{\2}", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _FULL_STOP.sub("", " ".join(text.split()))
    return strip_group(text.lstrip("= "))


def squeeze(text: str) -> str:
    """``text`` without the spaces that separate nothing: two answers with one squeezed form are the same answer."""
    return _IDLE_SPACE.sub("", text)


def strip_group(text: str) -> str:
    """``{x}`` and ``((x))`` as ``x``; a pair that holds a list keeps its delimiters, since they mean something."""
    while len(text) > 1 and text[0] + text[-1] in ("{}", "()") and encloses(text):
        inner = text[1:-1].strip()
        if not inner or (text[0] == "(" and len(split_top(inner, ",")) > 1):
            break
        text = inner
    return text


def encloses(text: str) -> bool:
    """True if the delimiter that opens ``text`` closes at its very end."""
    depths = list(depth_after(text))
    return depths[-1] == 0 and all(depth > 0 for depth in depths[:-1])


def depth_after(text: str) -> list[int]:
    """Nesting depth after each character, over braces, brackets and parentheses alike (``(0, 1]`` is one pair)."""
    depths, depth = [], 0
    for position, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        depths.append(depth if position else max(depth, 0))
    return depths


def split_top(text: str, separator: str) -> list[str]:
    """Split at ``separator`` outside every delimiter; parts are stripped."""
    parts, start = [], 0
    depths = depth_after(text)
    position = text.find(separator)
    while position >= 0:
        if depths[position] == 0:
            parts.append(text[start:position].strip())
            start = position + len(separator)
        position = text.find(separator, position + 1)
    return [*parts, text[start:].strip()]


def _unicode_to_latex(text: str) -> str:
    """Before NFKC, which would read ``1½`` as 11/2 and ``x²`` as x2."""
    text = _VULGAR.sub(lambda match: " " + unicodedata.normalize("NFKC", match[0]), text)
    text = _SUPERSCRIPTS.sub(lambda match: "^{" + unicodedata.normalize("NFKC", match[0]) + "}", text)
    text = _SUBSCRIPTS.sub(lambda match: "_{" + unicodedata.normalize("NFKC", match[0]) + "}", text)
    text = text.translate(_SYMBOLS)
    return unicodedata.normalize("NFKC", text).translate(_SYMBOLS)


def _strip_delimiters(text: str) -> str:
    for opening, closing in _MATH_DELIMITERS:
        size = len(opening) + len(closing)
        if len(text) > size and text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            if opening not in inner:
                return inner.strip()
    return text
