"""What may go to sympy. Cheap to compute, strict, and relative to the reference: its own operators are allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlsd_pl.verifiers.math.text import FUNCTIONS, GREEK, depth_after

MAX_CHARACTERS = 300
MAX_DEPTH = 12
_MAX_SYMBOLIC_DEPTH = 5
_MAX_SYMBOLIC_CHARACTERS = 160
_MAX_INTEGER_DIGITS = 30
_MAX_FUNCTIONS = 4
_MAX_DIGITS = 20_000
"""Of any integer that sympy would compute before it evaluates the expression."""
_CAP = 10**9

_ALPHABET = re.compile(r"[\x20-\x7e]*")
_CODE = re.compile(
    r"__|[\"`@#]|(?<![A-Za-z0-9)}'])'|[A-Za-z]{2,}\.[A-Za-z]|\b(?:lambda|import)\b"
    rf"|(?<![\\A-Za-z])(?!(?:{'|'.join(FUNCTIONS)}|sqrt|gcd|lcm|max|min|det|mod)\b)[A-Za-z]{{3,}}[(\[]"
)
_UNEVALUATED = {
    "integral": r"\\i{1,3}nt(?![a-z])|\\oint", "limit": r"\\lim", "sum": r"\\sum", "product": r"\\prod",
    "determinant": r"\\det", "binomial": r"\\[dt]?binom|\\choose", "factorial": r"!", "modulo": r"\\[bp]?mod|\bmod\b",
    "extremum": r"\\(?:max|min|sup|inf)(?![a-z])", "gcd": r"\b(?:gcd|lcm)\b",
    "rounding": r"\\[lr](?:floor|ceil)", "derivative": r"\\frac ?\{ ?d ?\}|\\partial", "unfinished": r"\.\.\.",
}  # fmt: skip
_FUNCTION = re.compile(rf"\\(?:{'|'.join(FUNCTIONS)})(?![A-Za-z])")
_EXPONENTIAL = re.compile(r"\\(?:exp|sinh|cosh|tanh|coth|sech|csch)(?= ?[({])")
_LARGE_ARGUMENT = re.compile(r"\d{5,}")
_NO_VARIABLE = rf"\\(?!(?:{GREEK})(?![A-Za-z]))[A-Za-z]+|\\text\{{[^{{}}]*\}}"
_COMMANDS = frozenset(
    f"frac|sqrt|pi|infty|cdot|times|div|le|ge|ne|in|cup|cap|setminus|emptyset|begin|end|{GREEK}".split("|")
) | frozenset(FUNCTIONS)
_UNREADABLE = re.compile(r"\\text|[?;:%$~]|\d \d|(?<![A-Za-z)}])[_']|(?<!\\)\\[^A-Za-z\\{}| ]")
_ATOM = re.compile(r"\d+|\\?[A-Za-z]+|\^|[({\[]|[)}\]]")


def is_mathematics(text: str) -> bool:
    """False for text outside printable ASCII (after NFKC) and for what looks like program code."""
    return _ALPHABET.fullmatch(text) is not None and _CODE.search(text) is None


def symbols(text: str) -> set[str]:
    """Variables in ``text``: letters that are neither in a command's name nor e nor i, and Greek letters."""
    return set(re.findall(r"\\[A-Za-z]+|[A-Za-z]", re.sub(_NO_VARIABLE, " ", text))) - {"e", "i"}


def readable(text: str, reference: str) -> bool:
    """False for words, signs and commands that the symbolic reader drops or misreads, unless the reference has them."""
    foreign = set(re.findall(r"\\([A-Za-z]+)", text)) - set(re.findall(r"\\([A-Za-z]+)", reference)) - _COMMANDS
    return not foreign and _UNREADABLE.search(text) is None and r"\text" not in reference


def excess(text: str, reference: str) -> str | None:
    """Reason code if ``text`` is too expensive to evaluate, however it is meant."""
    if len(text) > max(MAX_CHARACTERS, 2 * len(reference)):
        return "answer_too_long"
    return "answer_too_deep" if _depth(text) > max(MAX_DEPTH, _depth(reference)) else None


def symbolic_excess(text: str, reference: str) -> str | None:
    """Reason code if ``text`` is too expensive for sympy; a reference of the same size allows it."""
    checks = {
        "expression_too_long": lambda t: len(t) > _MAX_SYMBOLIC_CHARACTERS,
        "expression_too_deep": lambda t: _depth(t) > _MAX_SYMBOLIC_DEPTH,
        "power_too_large": lambda t: _digits(t) > _MAX_DIGITS,
        "number_too_large": lambda t: re.search(rf"\d{{{_MAX_INTEGER_DIGITS + 1},}}", t) is not None,
        "functions_too_deep": lambda t: len(_FUNCTION.findall(t)) > _MAX_FUNCTIONS,
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


def cost(text: str) -> tuple[int, int]:
    """What sorts expressions by what they may cost: digits of the integers in them, characters."""
    return _digits(text), len(text)


def _depth(text: str) -> int:
    return max(depth_after(text), default=0)


def _digits(text: str) -> int:
    """Upper bound of the digits of any integer in ``text`` once its powers are multiplied out."""
    if _depth(text) > MAX_DEPTH:
        return _CAP
    text = _EXPONENTIAL.sub("3^", text.replace("**", "^").replace(r"^\circ", ""))
    return _product(iter(_ATOM.findall(text)))[1]


def _product(atoms: Iterator[str]) -> tuple[int, int]:
    """(bound of the value, bound of the digits) up to the closing delimiter; sums are bounded like products."""
    chains: list[list[tuple[int, int]]] = []
    joins = False
    for atom in atoms:
        if atom in ")]}":
            break
        if atom == "^":
            joins = bool(chains)
            continue
        item = _product(atoms) if atom in "([{" else _atom(atom)
        if joins:
            chains[-1].append(item)
        else:
            chains.append([item])
        joins = False
    value = digits = 1
    for *bases, (power, length) in chains:
        for base, base_length in reversed(bases):
            power, length = _raised(base, power), min(_CAP, base_length * power)
        value, digits = min(_CAP, value * power), min(_CAP, digits + length)
    return value, digits


def _atom(atom: str) -> tuple[int, int]:
    return (min(_CAP, int(atom[:12])), len(atom)) if atom[0].isdigit() else (3, 1)


def _raised(base: int, exponent: int) -> int:
    return _CAP if base > 1 and exponent * base.bit_length() > 60 else min(_CAP, base**exponent)


def _has_large_operator(text: str) -> bool:
    """A factorial, sum, product or binomial of large numbers, or factorials upon factorials."""
    if re.search(r"! ?!", text):
        return True
    sizes = {r"\d{4,}|\^": ("factorial", "binomial", "modulo"), r"\d{4,}": ("sum", "product")}
    return any(
        re.search(size, text) and any(re.search(_UNEVALUATED[name], text) for name in names)
        for size, names in sizes.items()
    )
