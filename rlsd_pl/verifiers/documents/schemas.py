"""Schemas: linted when loaded, compiled once, applied in worker processes (patterns and ``anyOf`` can run for ever)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

import jsonschema
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY as METASCHEMAS
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from rlsd_pl.verifiers.documents.openness import leaves_open
from rlsd_pl.verifiers.documents.patterns import UnsupportedPatternError, python_pattern
from rlsd_pl.verifiers.documents.strict import JSONLimitError, JSONTextError, read_json

_DEFAULT = jsonschema.Draft202012Validator
_ONE = ("additionalProperties", "additionalItems", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("$defs", "definitions", "dependentSchemas", "dependencies", "patternProperties", "properties")
_ASSERTIONS = {
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "contains", "minProperties",
    "maxProperties", "required", "dependentRequired", "dependencies", "not", "propertyNames", "$dynamicRef",
}  # fmt: skip
# Recursive schemas on documents of MAX_DEPTH fit; a schema that refers to itself without end does not.
sys.setrecursionlimit(2000)

_UnknownDialect: Any = object()


class SchemaError(ValueError):
    """The schema cannot be used; the message says what to change."""


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """``{"text", "schema"}`` (both JSON text) to ``{"status", "code", "explanation"}``."""
    try:
        validator = load_schema(request["schema"])
    except SchemaError as error:
        return _outcome("error", "schema_refused", str(error))
    try:
        value = read_json(request["text"])
    except JSONLimitError as error:
        return _outcome("limit", error.code, error.explanation)
    except JSONTextError as error:
        return _outcome("invalid", error.code, error.explanation)
    try:
        problem = next(validator.iter_errors(value), None)
    except RecursionError:
        return _outcome("error", "schema_recursion", "the schema refers to itself without end")
    except Unresolvable as error:
        return _outcome("error", "schema_refused", f"unresolvable reference: {error}")
    if problem is None:
        return _outcome("pass", "valid")
    return _outcome("fail", f"schema_{problem.validator}", f"at {problem.json_path}")


def lint(request: dict[str, Any]) -> dict[str, Any]:
    """``{"schema"}`` (JSON text) to ``{"reason", "open"}``: why it cannot be used or ``None``; :func:`leaves_open`."""
    try:
        validator = load_schema(request["schema"])
        for probe in (None, 0, "", [], {}):
            next(validator.iter_errors(probe), None)
    except (SchemaError, Unresolvable) as error:
        return {"reason": str(error), "open": False}
    except RecursionError:
        return {"reason": "the schema refers to itself without end", "open": False}
    return {"reason": None, "open": leaves_open(read_json(request["schema"]))}


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's entry: a request with a text is to be judged, one without to be linted."""
    return judge(request) if "text" in request else lint(request)


@lru_cache(maxsize=128)
def load_schema(text: str) -> Any:
    """The validator for a schema that passed every check, the vacuity check included."""
    try:
        schema = read_json(text)
    except JSONTextError as error:
        raise SchemaError(f"the schema is not strict JSON: {error}") from None
    validator = compile_schema(schema)
    if not any(_asserts(part) for part in subschemas(schema)):
        raise SchemaError("the schema is vacuous: it accepts every document; add required, type or other constraints")
    return validator


def compile_schema(schema: Any) -> Any:
    """The validator of ``schema``, with an empty registry (nothing is fetched) and formats asserted.

    Raises:
        SchemaError: unknown dialect, not a valid schema, a format or pattern that cannot be checked here, a reference
            that leaves the schema.
    """
    if not isinstance(schema, dict | bool):
        raise SchemaError(f"got a schema of type {type(schema).__name__}, expected an object or a boolean")
    validator_class = _dialect(schema)
    try:
        validator_class.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SchemaError(f"not a valid schema at {error.json_path}: {error.message[:120]}") from None
    _check_references(schema)
    schema = copy.deepcopy(schema)
    for part in subschemas(schema):
        _check_format(part, validator_class.FORMAT_CHECKER)
        _translate_patterns(part)
    return validator_class(schema, registry=Registry(), format_checker=validator_class.FORMAT_CHECKER)


def subschemas(schema: Any) -> Iterator[Any]:
    """``schema`` and every schema in it, wherever the dialects place one."""
    yield schema
    for child in _children(schema):
        yield from subschemas(child)


def _children(schema: Any) -> Iterator[Any]:
    if not isinstance(schema, dict):
        return
    yield from (schema[key] for key in _ONE if isinstance(schema.get(key), dict | bool))
    for key in _MANY:
        if isinstance(schema.get(key), list):
            yield from schema[key]
    for key in _NAMED:
        if isinstance(schema.get(key), dict):
            yield from schema[key].values()


def _asserts(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is False
    # A reference out of the schema can only be to a metaschema, which asserts.
    return not _ASSERTIONS.isdisjoint(schema) or not str(schema.get("$ref", "#")).startswith("#")


def _dialect(schema: Any) -> Any:
    declared = schema.get("$schema") if isinstance(schema, dict) else None
    validator_class: Any = validator_for({"$schema": declared}, default=_UnknownDialect) if declared else _DEFAULT
    if validator_class is _UnknownDialect:
        raise SchemaError(f"unknown $schema {declared!r}; use {_DEFAULT.META_SCHEMA['$id']!r}")
    return validator_class


def _check_references(schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    specification = specification_with(schema["$schema"]) if "$schema" in schema else DRAFT202012
    root = schema.get("$id", "")
    registry = METASCHEMAS.combine(Registry().with_resource(root, specification.create_resource(schema))).crawl()
    for base, part in _with_base(schema, ""):
        for key in ("$ref", "$dynamicRef"):
            if isinstance(part.get(key), str):
                try:
                    registry.resolver(base).lookup(part[key])
                except Unresolvable:
                    raise SchemaError(f"{key} {part[key]!r} leaves the schema; nothing is fetched: inline it") from None


def _with_base(schema: Any, base: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object schema with the URI that its references are relative to."""
    if not isinstance(schema, dict):
        return
    base = urljoin(base, schema.get("$id", ""))
    yield base, schema
    for child in _children(schema):
        yield from _with_base(child, base)


def _check_format(schema: Any, checker: jsonschema.FormatChecker) -> None:
    name = schema.get("format") if isinstance(schema, dict) else None
    if name is not None and name not in checker.checkers:
        raise SchemaError(
            f"format {name!r} cannot be checked here, only {sorted(checker.checkers)}; "
            "install jsonschema[format-nongpl], or say it as a pattern"
        )


def _translate_patterns(schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    try:
        if "pattern" in schema:
            schema["pattern"] = python_pattern(schema["pattern"])
        if "patternProperties" in schema:
            schema["patternProperties"] = {python_pattern(k): v for k, v in schema["patternProperties"].items()}
    except UnsupportedPatternError as error:
        raise SchemaError(str(error)) from None


def _outcome(status: str, code: str, explanation: str = "") -> dict[str, Any]:
    return {"status": status, "code": code, "explanation": explanation[:150]}
