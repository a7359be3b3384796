"""What may go to sympy. Cheap to compute, strict, and relative to the reference: its own operators are allowed."""

from __future__ import annotations

import re

from rlsd_pl.verifiers.math.text import depth_after

MAX_CHARACTERS = 300
MAX_DEPTH = 12
_MAX_SYMBOLIC_DEPTH = 5
_MAX_SYMBOLIC_CHARACTERS = 160
_MAX_EXPONENT_DIGITS = 4
_MAX_INTEGER_DIGITS = 30
_LARGE_ARGUMENT = re.compile(r"\d{5,}")

_ALPHABET = re.compile(r"[\x20-\x7e]*")
_CODE = re.compile(
    r"__|[\"`@#]|(?<![A-Za-z0-9)}'])'|[A-Za-z]{2,}\.[A-Za-z]|\b(?:lambda|import)\b"
    r"|(?<![\\A-Za-z])(?!(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|arcsin|arccos|arctan|gcd|lcm|max|min|det|mod)\b)"
    r"[A-Za-z]{3,}[(\[]"
)
_UNEVALUATED = {
    "integral": r"\\i{1,3}nt(?![a-z])|\\oint", "limit": r"\\lim", "sum": r"\\sum", "product": r"\\prod",
    "determinant": r"\\det", "binomial": r"\\[dt]?binom|\\choose", "factorial": r"!", "modulo": r"\\[bp]?mod|\bmod\b",
    "extremum": r"\\(?:max|min|sup|inf)(?![a-z])", "gcd": r"\b(?:gcd|lcm)\b",
    "rounding": r"\\[lr](?:floor|ceil)", "derivative": r"\\frac ?\{ ?d ?\}|\\partial", "unfinished": r"\.\.\.",
}  # fmt: skip
_FUNCTION = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|exp)(?:h)?(?![A-Za-z])")


def is_mathematics(text: str) -> bool:
    """False for text outside printable ASCII (after NFKC) and for what looks like program code."""
    return _ALPHABET.fullmatch(text) is not None and _CODE.search(text) is None


def excess(text: str, reference: str) -> str | None:
    """Reason code if ``text`` is too expensive to evaluate, however it is meant."""
    own = len(reference)
    if len(text) > max(MAX_CHARACTERS, 2 * own):
        return "answer_too_long"
    if max(depth_after(text), default=0) > max(MAX_DEPTH, _depth(reference)):
        return "answer_too_deep"
    return None


def symbolic_excess(text: str, reference: str) -> str | None:
    """Reason code if ``text`` is too expensive for sympy; a reference of the same size allows it."""
    checks = {
        "expression_too_long": lambda t: len(t) > _MAX_SYMBOLIC_CHARACTERS,
        "expression_too_deep": lambda t: _depth(t) > _MAX_SYMBOLIC_DEPTH,
        "power_too_large": _has_large_power,
        "number_too_large": lambda t: re.search(rf"\d{{{_MAX_INTEGER_DIGITS + 1},}}", t) is not None,
        "functions_too_deep": lambda t: len(_FUNCTION.findall(t)) > 4,
        "argument_too_large": lambda t: _FUNCTION.search(t) is not None and _LARGE_ARGUMENT.search(t) is not None,
        "operator_too_large": _has_large_operator,
    }
    return next((code for code, fails in checks.items() if fails(text) and not fails(reference)), None)


def unevaluated(text: str, reference: str) -> str | None:
    """Name of an operator in ``text`` that only restates a question, unless the reference has it too."""
    for name, pattern in _UNEVALUATED.items():
        if re.search(pattern, text) and not re.search(pattern, reference):
            return name
    return None


def _depth(text: str) -> int:
    return max(depth_after(text), default=0)


def _has_large_power(text: str) -> bool:
    """A number of more than four digits in an exponent, a tower of numbers or of three floors, a power of a sum."""
    text = text.replace("**", "^")
    for match in re.finditer(r"\^", text):
        exponent = _group_after(text, match.end())
        if re.search(rf"\d{{{_MAX_EXPONENT_DIGITS + 1},}}", exponent):
            return True
        floors = exponent.replace(r"^\circ", "").count("^")
        if floors > 1 or (floors == 1 and not re.search(r"(?<![\\A-Za-z])[a-df-z](?![A-Za-z])", exponent)):
            return True
        base = text[: match.start()].rstrip()
        is_sum = base.endswith((")", "}")) and not re.search(r"_ ?\{[^{}]*\}$", base)  # \sum_{k=1}^{n} is no power
        if is_sum and re.search(r"\d{3,}", exponent):
            return True
    return False


def _group_after(text: str, start: int) -> str:
    """The exponent that starts at ``start``: a group in delimiters, or a chain without spaces (``9^9^9``)."""
    rest = text[start:].lstrip()
    if not rest.startswith(("{", "(")):
        chain = re.match(r"[\w^\\.]+", rest)
        return chain[0] if chain else rest[:1]
    end = next((i for i, depth in enumerate(depth_after(rest)) if depth == 0), len(rest))
    after = rest[end + 1 :].lstrip()
    return rest[: end + 1] + (after[:2] if after.startswith("^") else "")


def _has_large_operator(text: str) -> bool:
    """A factorial, sum, product or binomial of large numbers, or factorials upon factorials."""
    if re.search(r"! ?!", text):
        return True
    sizes = {r"\d{4,}|\^": ("factorial", "binomial", "modulo"), r"\d{4,}": ("sum", "product")}
    return any(
        re.search(size, text) and any(re.search(_UNEVALUATED[name], text) for name in names)
        for size, names in sizes.items()
    )
