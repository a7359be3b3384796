"""Answers with structure: tuples, intervals, sets, lists, unions, equations. Parsed and compared as trees.

The comparison of two leaves is a parameter: the parent passes one that knows rational numbers and plain words, a
worker one that also knows sympy. Everything else is the same code on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rlsd_pl.verifiers.math.intervals import Interval, joined
from rlsd_pl.verifiers.math.text import GREEK, encloses, split_top, squeeze, strip_group

MAX_ELEMENTS = 200
_MAX_DEPTH = 6


class Kind(StrEnum):
    """What holds the children of a node together; ``LEAF`` holds text."""

    LEAF = "leaf"
    TUPLE = "()"
    CLOSED = "[]"
    LEFT_CLOSED = "[)"
    RIGHT_CLOSED = "(]"
    SET = "{}"
    UNION = "union"
    EQUATION = "="
    RATIO = ":"


_INTERVALS = frozenset({Kind.TUPLE, Kind.CLOSED, Kind.LEFT_CLOSED, Kind.RIGHT_CLOSED})
_UNORDERED = frozenset({Kind.SET, Kind.UNION})

_NAME = (
    rf"(?!(?:e|i) ?=)(?:(?:[A-Za-z]+|\\(?:{GREEK})(?![A-Za-z]))"
    r"(?: ?_ ?(?:\w|\{[\w ,]*\}))?'{0,3}(?: ?\([A-Za-z](?: ?, ?[A-Za-z])*\))?|\\angle ?[A-Z]{1,3})"
)
_ASSIGNED = re.compile(rf"({_NAME}) ?(?:=|\\in(?![A-Za-z]))(.*)", re.DOTALL)
_WORDS_BETWEEN = re.compile(r" (?:and|or) |\\text ?\{ ?(?:and|or) ?\}", re.IGNORECASE)
_RELATION = re.compile(r"(\\le(?![A-Za-z])|\\ge(?![A-Za-z])|<=|>=|<|>)")
_GREATER = {r"\ge": r"\le", ">=": r"\le", ">": "<"}
_GROUPED_NUMBER = re.compile(r"[-+]?\$? ?\d{1,3}(?:,\d{3})+(?:\.\d*)?(?!\d)(?! ?,).*")
_VARIABLE = re.compile(r"[A-Za-z]|\\[a-z]+")


@dataclass(frozen=True, slots=True)
class Tree:
    """A leaf with ``text``, or a node with ``children``; equations keep their text too."""

    kind: Kind
    text: str = ""
    children: tuple[Tree, ...] = ()


Equal = Callable[[str, str], bool]
"""(answer leaf, reference leaf) -> the same value?"""


def parse_tree(text: str, depth: int = 0) -> Tree:
    """Read one canonical line. What has no structure is a leaf."""
    text = strip_group(text.strip())
    if depth < _MAX_DEPTH:
        for read in (
            _read_union,
            _read_list,
            _read_delimited,
            _read_plus_minus,
            _read_inequality,
            _read_equation,
        ):
            if (tree := read(text, depth)) is not None:
                return tree
    return Tree(Kind.LEAF, text)


def same(answer: Tree, reference: Tree, equal: Equal) -> bool:
    """True if two trees have one shape and equal leaves; sets and unions compare in any order."""
    answer, reference = _unwrapped(answer, reference), _unwrapped(reference, answer)
    if answer.kind is not reference.kind:
        return False
    if answer.kind is Kind.LEAF:
        return equal(answer.text, reference.text)
    if answer.kind in _UNORDERED:
        return _same_unordered(answer.children, reference.children, equal)
    if len(answer.children) != len(reference.children):
        return False
    if answer.kind is Kind.EQUATION:
        return _same_equation(answer, reference, equal)
    return all(same(a, r, equal) for a, r in zip(answer.children, reference.children, strict=True))


def leaves(tree: Tree) -> list[str]:
    """Texts of all leaves, left to right."""
    if tree.kind is Kind.LEAF:
        return [tree.text]
    return [text for child in tree.children for text in leaves(child)]


def _unwrapped(tree: Tree, other: Tree) -> Tree:
    """``x = 5`` stands for 5, and ``x \\in [0, 1]`` for the interval, where the other side names no variable."""
    if tree.kind is Kind.EQUATION and other.kind is not Kind.EQUATION:
        match = _ASSIGNED.fullmatch(tree.text)
        name_returns = match and re.search(rf"(?<![\\A-Za-z]){re.escape(match[1])}(?![A-Za-z])", match[2])
        if match and not name_returns and len(tree.children) == 2:
            value = parse_tree(match[2])
            return value if "=" in tree.text or value.kind is not Kind.LEAF else tree  # nothing is in a number
    return tree


def _same_unordered(answers: tuple[Tree, ...], references: tuple[Tree, ...], equal: Equal) -> bool:
    if len(_names(answers) | _names(references)) > 1 and _names(answers) != _names(references):
        return False  # x = 1, y = 2 is not 1, 2
    # Without multiplicity: every element of one side is in the other.
    return all(any(same(answer, reference, equal) for answer in answers) for reference in references) and all(
        any(same(answer, reference, equal) for reference in references) for answer in answers
    )


def _names(trees: tuple[Tree, ...]) -> set[str]:
    """What the equations among ``trees`` assign to; the roots x_1 and x_2 are two values of x."""
    assigned = (_ASSIGNED.fullmatch(tree.text) for tree in trees if tree.kind is Kind.EQUATION)
    return {squeeze(match[1]).partition("_")[0] for match in assigned if match}


def _same_equation(answer: Tree, reference: Tree, equal: Equal) -> bool:
    """Two assignments to one name compare by value; any other two equations are for ``equal`` to judge."""
    left, right = _ASSIGNED.fullmatch(answer.text), _ASSIGNED.fullmatch(reference.text)
    if left and right and squeeze(left[1]) == squeeze(right[1]):
        name = squeeze(left[1])
        values = parse_tree(left[2]), parse_tree(right[2])
        if all(name not in leaf for value in values for leaf in leaves(value)):
            return same(*values, equal)
    return equal(answer.text, reference.text)


def _node(kind: Kind, parts: list[str], depth: int) -> Tree | None:
    if not all(parts) or len(parts) > MAX_ELEMENTS:
        return None
    return Tree(kind, children=tuple(parse_tree(part, depth + 1) for part in parts))


def _read_union(text: str, depth: int) -> Tree | None:
    parts = split_top(text, r"\cup")
    union = _node(Kind.UNION, parts, depth) if len(parts) > 1 else None
    if union is None or not all(child.kind in _INTERVALS and len(child.children) == 2 for child in union.children):
        return union
    pieces = joined([Interval(child.kind, *(end.text for end in child.children)) for child in union.children])
    if pieces is None:
        return union
    nodes = [_node(Kind(piece.brackets), [piece.low, piece.high], depth) for piece in pieces]
    children = tuple(node for node in nodes if node is not None)
    return children[0] if len(children) == 1 else Tree(Kind.UNION, children=children)


def _read_list(text: str, depth: int) -> Tree | None:
    """``2, 3`` and ``2 or 3`` are sets; ``1,234`` is a number."""
    plain = _WORDS_BETWEEN.sub(",", text)
    if plain == text and _GROUPED_NUMBER.fullmatch(text):
        return None
    parts = [part for part in split_top(plain, ",") if part]
    return _set(parts, depth) if len(parts) > 1 else None


def _set(parts: list[str], depth: int) -> Tree | None:
    """A set: ``a \\pm b`` gives two elements, and an element written twice counts once."""
    return _node(Kind.SET, list(dict.fromkeys(squeeze(part) for part in _expand(parts))), depth)


def _expand(parts: list[str]) -> list[str]:
    """``a \\pm b`` as its two values."""
    signs = [("+", "-") if part.count(r"\pm") == 1 else ("",) for part in parts]
    return [
        part.replace(r"\pm", sign) if sign else part for part, both in zip(parts, signs, strict=True) for sign in both
    ]


def _read_plus_minus(text: str, depth: int) -> Tree | None:
    if text.count(r"\pm") != 1 or "=" in text:
        return None
    return _set([text], depth)


def _read_delimited(text: str, depth: int) -> Tree | None:
    if len(text) > 4 and text.startswith(r"\{") and text.endswith(r"\}") and encloses(text[1:-2] + "}"):
        return _set(split_top(text[2:-2], ","), depth)
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or not encloses(text):
        return None
    parts = split_top(text[1:-1], ",")
    if len(parts) < 2 or (len(parts) != 2 and text[0] + text[-1] not in ("()", "[]")):
        return None
    return _node(Kind(text[0] + text[-1]), parts, depth)


def _read_inequality(text: str, depth: int) -> Tree | None:
    """``x > 2`` and ``1 \\le x < 3`` as the interval they describe."""
    parts = [part.strip() for part in _RELATION.split(text)]
    if len(parts) not in (3, 5) or "=" in text.replace("<=", "").replace(">=", ""):
        return None
    if parts[1] in _GREATER:
        parts = [_GREATER.get(part, part) for part in reversed(parts)]
    if any(part in _GREATER for part in parts):
        return None
    if len(parts) == 3:
        parts = [r"-\infty", "<", *parts] if _is_variable(parts[0]) else [*parts, "<", r"\infty"]
    if not _is_variable(parts[2]):
        return None
    strict = [part == "<" for part in (parts[1], parts[3])]
    return _node(Kind("[("[strict[0]] + "])"[strict[1]]), [parts[0], parts[4]], depth)


def _is_variable(text: str) -> bool:
    return _VARIABLE.fullmatch(text) is not None and text != r"\pi"


def _read_equation(text: str, depth: int) -> Tree | None:
    if re.search(r"[<>!]|\\ne(?![A-Za-z])", text):
        return None
    if (match := _ASSIGNED.fullmatch(text)) and r"\in" in text and "=" not in text:
        return Tree(Kind.EQUATION, text, (Tree(Kind.LEAF, match[1]), Tree(Kind.LEAF, match[2])))
    parts = split_top(text, "=")
    if len(parts) > 1:
        return Tree(Kind.EQUATION, text, tuple(Tree(Kind.LEAF, part) for part in parts))
    ratio = split_top(text, ":")
    return _node(Kind.RATIO, ratio, depth) if len(ratio) > 1 else None
