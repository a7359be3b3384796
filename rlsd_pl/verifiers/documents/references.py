"""The schemas within a schema: under keywords, and where references lead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from jsonschema_specifications import REGISTRY as METASCHEMAS
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

_ONE = ("additionalProperties", "additionalItems", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("$defs", "definitions", "dependentSchemas", "dependencies", "patternProperties", "properties")
_REFERENCES = ("$ref", "$dynamicRef")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
"""Keywords whose schemas judge the same value as the schema around them, as those of references do."""


class SchemaError(ValueError):
    """The schema cannot be used; the message says what to change."""


def subschemas(schema: Any) -> Iterator[Any]:
    """``schema`` and every schema in it, wherever the dialects place one."""
    yield schema
    for child in children_of(schema):
        yield from subschemas(child)


def children_of(schema: Any, keywords: Sequence[str] | None = None) -> Iterator[Any]:
    """The schemas under ``keywords``, by default under all of them."""
    for key in keywords or (*_ONE, *_MANY, *_NAMED):
        value = schema.get(key) if isinstance(schema, dict) else None
        if key in _NAMED and isinstance(value, dict):
            yield from value.values()
        elif key in _MANY and isinstance(value, list):
            yield from value
        elif key in _ONE and isinstance(value, dict | bool):
            yield value


def reachable(schema: Any) -> list[dict[str, Any]]:
    """Every object schema in ``schema``, those included that only a reference leads to.

    Raises SchemaError for a reference that leaves the schema or that leads back to itself for the same value.
    """
    if not isinstance(schema, dict):
        return []
    specification = specification_with(schema["$schema"]) if "$schema" in schema else DRAFT202012
    resource = specification.create_resource(schema)
    registry = METASCHEMAS.combine(Registry().with_resource(resource.id() or "", resource)).crawl()
    own = {id(node) for node in _nodes(schema)}
    found: dict[int, dict[str, Any]] = {}
    in_place: dict[int, list[int]] = {}
    waiting: list[tuple[Any, Any]] = [(schema, registry.resolver())]
    while waiting:
        part, resolver = waiting.pop()
        if not isinstance(part, dict) or id(part) in found:
            continue
        resolver = resolver.in_subresource(specification.create_resource(part))
        found[id(part)] = part
        targets = [_lookup(resolver, key, part[key]) for key in _REFERENCES if isinstance(part.get(key), str)]
        inside = [(target.contents, target.resolver) for target in targets if id(target.contents) in own]
        waiting += [*inside, *((child, resolver) for child in children_of(part))]
        in_place[id(part)] = [id(child) for child in (*(target for target, _ in inside), *children_of(part, _IN_PLACE))]
    try:
        TopologicalSorter(in_place).prepare()
    except CycleError:
        raise SchemaError("the schema refers to itself without end") from None
    return list(found.values())


def _lookup(resolver: Any, key: str, reference: str) -> Any:
    try:
        return resolver.lookup(reference)
    except Unresolvable:
        raise SchemaError(f"{key} {reference!r} leaves the schema; nothing is fetched: inline it") from None


def _nodes(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _nodes(item)
