"""Whether a schema lets an object carry keys that it does not name: then made-up keys cost a completion nothing."""

from __future__ import annotations

from typing import Any

from rlsd_pl.verifiers.documents.references import children_of

_DESCRIBES = ("properties", "patternProperties", "required")
_CLOSES = ("additionalProperties", "unevaluatedProperties")
_SAME_VALUE = ("allOf", "anyOf", "oneOf", "then", "else", "dependentSchemas")
"""Keywords whose schemas judge the same value: what closes the schema around them closes them."""
_OTHER_VALUES = (
    "properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "items", "prefixItems",
    "additionalItems", "unevaluatedItems", "contains",
)  # fmt: skip
_DEFINITIONS = ("$defs", "definitions")


def leaves_open(schema: Any, closed: bool = False) -> bool:
    """True if an object schema anywhere in ``schema`` says nothing of further keys.

    ``additionalProperties`` of any value says something, ``true`` included. ``not`` and ``if`` accept nothing by
    themselves and are passed over. Definitions count as used where they stand.

    Args:
        schema: the schema or a part of it.
        closed: whether a schema around it, for the same value, already refuses further keys.
    """
    if not isinstance(schema, dict):
        return False
    closed = closed or any(key in schema for key in _CLOSES)
    if not closed and (any(key in schema for key in _DESCRIBES) or _names_object(schema.get("type"))):
        return True
    # The usual way to close a composed object is around its parts, which often are definitions.
    inherited = (*_SAME_VALUE, *(_DEFINITIONS if "unevaluatedProperties" in schema else ()))
    others = [key for key in (*_OTHER_VALUES, *_DEFINITIONS) if key not in inherited]
    return any(leaves_open(part, closed) for part in children_of(schema, inherited)) or any(
        map(leaves_open, children_of(schema, others))
    )


def _names_object(kind: Any) -> bool:
    return kind == "object" or (isinstance(kind, list) and "object" in kind)
